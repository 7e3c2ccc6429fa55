"""Weather: snow, frost, fog, brightness, spatter. Lengths are in pixels of an image 32 pixels wide."""

from __future__ import annotations

import torch
from torch import Tensor

from robustness_study.corruptions import corruption
from robustness_study.corruptions.colour import grey, with_value
from robustness_study.corruptions.draws import Draws
from robustness_study.corruptions.droplets import refraction
from robustness_study.corruptions.sampling import (
    along_lines,
    apply,
    blur,
    motion_weights,
    scale_of,
    side_of,
    zoom,
    zoom_sizes,
)
from robustness_study.corruptions.textures import clouds, ice


@corruption(
    (0.1, 0.2, 1.0, 0.6, 8, 3, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
)
def snow(images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
    """Make the image whiter and add streaks of snowflakes.

    Constants: mean, σ, enlargement and threshold of the flakes; radius and σ of the streaks; the share of the image
    that is kept.
    """
    mean, sigma, enlarged, threshold, radius, fade, kept = constants
    side, scale = side_of(images), scale_of(images)
    flakes = apply(
        zoom(side, *zoom_sizes(side, max(1.0, enlarged * scale))), mean + sigma * draws.normal(1, side, side)
    )
    flakes = torch.where(flakes < threshold, 0.0, flakes.clamp(0, 1))
    streaks = along_lines(flakes, draws.uniform(-135, -45), motion_weights(radius * scale, fade * scale))
    whitened = kept * images + (1 - kept) * torch.maximum(images, grey(images) * 1.5 + 0.5)
    return whitened + streaks + streaks.flip(2, 3)


@corruption((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))
def frost(images: Tensor, weights: tuple[float, float], draws: Draws) -> Tensor:
    """The weighted sum of the image and of ice on a window. The ice is generated; the paper uses photographs of ice.

    Constants: the weights of the image and of the ice.
    """
    of_image, of_ice = weights
    return of_image * images + of_ice * ice(side_of(images), scale_of(images), draws)[:, None]


@corruption((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
def fog(images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
    """Add clouds, then scale the image so that it is as bright as before.

    Constants: strength of the clouds, and the decay of their roughness.
    """
    strength, decay = constants
    brightest = images.amax((1, 2, 3), keepdim=True)
    foggy = images + strength * clouds(side_of(images), decay, draws)[:, None]
    return foggy * brightest / (brightest + strength)


@corruption(0.05, 0.1, 0.15, 0.2, 0.3)
def brightness(images: Tensor, added: float, draws: Draws) -> Tensor:
    """Raise the HSV value of each pixel by `added`."""
    return with_value(images, (images.amax(1, keepdim=True) + added).clamp(max=1))


WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)


@corruption(
    (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
    (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
    (0.65, 0.3, 1.0, 0.69, 0.5, "water"),
    (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
    (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
)
def spatter(images: Tensor, constants: tuple[float, float, float, float, float, str], draws: Draws) -> Tensor:
    """Add drops of water that refract light, or spots of mud.

    Constants: mean, σ, smoothing and threshold of the layer; the strength of water or the smoothing of mud; the kind.
    """
    mean, sigma, smoothing, threshold, strength, kind = constants
    side, scale = side_of(images), scale_of(images)
    # Twice the smoothing halves the standard deviation, so σ must grow as well. Else larger images would have no drops.
    layer = mean + blur(sigma * scale * draws.normal(1, side, side), smoothing * scale)
    colour = torch.tensor(WATER if kind == "water" else MUD, device=images.device).view(1, 3, 1, 1)
    if kind == "mud":
        spots = blur((layer > threshold).float(), strength * scale)
        spots = torch.where(spots < 0.8, 0.0, spots)
        return images * (1 - spots) + colour * spots
    drops = torch.where(layer < threshold, 0.0, layer * 255).floor().clamp(0, 255)
    light = drops * refraction(drops)
    brightest = light.amax((1, 2, 3), keepdim=True)
    return images + colour * strength * light / brightest.clamp(min=1e-9)
