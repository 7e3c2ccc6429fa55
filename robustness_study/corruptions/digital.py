"""Digital corruptions: contrast, elastic distortion, pixelation, JPEG compression, saturation."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from robustness_study.corruptions import corruption
from robustness_study.corruptions.colour import with_saturation
from robustness_study.corruptions.draws import Draws
from robustness_study.corruptions.sampling import apply, blur, box, side_of


@corruption(0.75, 0.5, 0.4, 0.3, 0.15)
def contrast(images: Tensor, factor: float, draws: Draws) -> Tensor:
    """Scale each channel of an image about its mean, by `factor`."""
    mean = images.double().mean((2, 3), keepdim=True).float()  # in float64, because a float32 sum depends on its order
    return (images - mean) * factor + mean


@corruption((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
def elastic_transform(images: Tensor, constants: tuple[float, float, float], draws: Draws) -> Tensor:
    """A random affine map, then smooth random displacements (Simard et al. 2003).

    The affine map moves three points around the middle, each by a uniform random shift. The displacements are smoothed
    noise. As in the published generator, this noise has one value for each pixel. So for the same constants the
    displacements are weaker on a larger image. Constants, as shares of the image width: strength and σ of the
    displacements, largest shift of the three points.
    """
    side = side_of(images)
    strength, sigma, shift = (constant * side for constant in constants)
    middle, third = float(side // 2), float(side // 3)
    points = torch.tensor(
        [[middle + third, middle + third], [middle + third, middle - third], [middle - third, middle - third]],
        device=images.device,
    )
    moved = points + draws.uniform(-shift, shift, 3, 2)
    homogeneous = torch.cat([moved, torch.ones_like(moved[:, :, :1])], 2).double()
    inverse = torch.linalg.solve(homogeneous, points.double().expand(len(images), 3, 2))  # N×3×2
    at = torch.arange(side, device=images.device, dtype=torch.float64)
    y, x = torch.meshgrid(at, at, indexing="ij")
    # One product for all images is several times faster than one for each. The result is N×H×W×2, x before y.
    mapped = torch.tensordot(torch.stack([x, y, torch.ones_like(x)], 2), inverse, dims=([2], [1]))
    source = mapped.float().permute(2, 0, 1, 3).contiguous()
    turned = grid_sample(images, source * (2 / (side - 1)) - 1, padding_mode="reflection", align_corners=True)
    if strength == 0:
        return turned
    displacement = blur(draws.uniform(-1, 1, 2, side, side), sigma, truncate=3.0, border="symmetric") * strength
    source = torch.stack([x, y], 2).float() + displacement.permute(0, 2, 3, 1)
    return grid_sample(turned, (source * 2 + 1) / side - 1, padding_mode="reflection", align_corners=False)


@corruption(0.95, 0.9, 0.85, 0.75, 0.65)
def pixelate(images: Tensor, share: float, draws: Draws) -> Tensor:
    """Shrink the image to a share of its width and enlarge it again, both with a box filter.

    As in Pillow, values are rounded to whole levels, half a level up, first along rows and then along columns. The
    levels are whole numbers, so that rounding errors cannot decide whether half a level goes up or down.
    """
    side = side_of(images)
    small = int(side * share)
    shrink = torch.from_numpy(box(side, small)).to(images.device)
    levels = ((images * 255).round_().double() @ shrink.T).add_(0.5).floor_()
    levels = (shrink @ levels).add_(0.5).floor_()
    return apply(box(small, side), levels) / 255


@corruption(80, 65, 58, 50, 40)
def jpeg_compression(images: Tensor, quality: int, draws: Draws) -> Tensor:
    """Save as JPEG with this quality (libjpeg through Pillow, with colour subsampling) and read it again."""
    from PIL import Image

    size = (side_of(images), side_of(images))
    image, copy, read = Image.new("RGB", size), Image.new("RGB", size), []
    for pixels in (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy():
        file = io.BytesIO()
        image.frombytes(pixels.tobytes())
        image.save(file, "JPEG", quality=quality)
        copy.frombytes(file.getvalue(), "jpeg", "RGB", "")  # `Image.open` needs as long again to read the file's header
        read.append(copy.tobytes())
    levels = np.frombuffer(bytearray().join(read), np.uint8).reshape(-1, *size, 3)
    return torch.from_numpy(levels).to(images.device).permute(0, 3, 1, 2).contiguous().float() / 255


@corruption((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
def saturate(images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
    """Multiply the saturation by a factor and add an offset; the constants are the two."""
    return with_saturation(images, *constants)
