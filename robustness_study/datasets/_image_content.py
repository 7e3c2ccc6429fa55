"""What PIL does not tell about the bytes of an image file, and which of the bytes it needs not see.

PNG: ISO/IEC 15948. JPEG: ITU-T T.81. BMP: the header BITMAPINFOHEADER of Windows.
"""

from __future__ import annotations

import struct

import numpy as np

PNG = b"\x89PNG\r\n\x1a\n"
GREY_WITH_ALPHA = 4  # PNG's number for this kind of image
# The chunks that pixels, transparency, orientation and the number of frames need.
CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"eXIf")
FRAMES, FRAMES_BYTES = b"acTL", 8
EXIF, ADOBE, ADOBE_BYTES = 0xE1, 0xEE, 14  # segments of JPEG; the second one says how colours are stored


def essential(content: bytes) -> bytes:
    """The file without notes, colour profiles, previews and the like, in which a fault would make PIL refuse it.

    A file that is not PNG or JPEG is returned as it is.
    """
    if content.startswith(PNG):
        return PNG + b"".join(_png_chunks(content))
    if content.startswith(b"\xff\xd8"):
        return _jpeg_segments(content)
    return content


def _png_chunks(content: bytes) -> list[bytes]:
    kept, at = [], len(PNG)
    while at + 12 <= len(content):
        (length,), kind = struct.unpack(">I", content[at : at + 4]), content[at + 4 : at + 8]
        if kind in CHUNKS or (kind == FRAMES and length == FRAMES_BYTES):
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return kept


def _jpeg_segments(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        if content[at + 1] == 0xFF:  # any number of these may come before a marker
            at += 1
            continue
        marker, (length,) = content[at + 1], struct.unpack(">H", content[at + 2 : at + 4])
        is_note = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_note or marker == EXIF or (marker == ADOBE and length >= ADOBE_BYTES):
            kept.append(content[at : at + 2 + length])
        at += 2 + length
        if marker == 0xDA:  # compressed pixels follow
            break
    return b"".join([*kept, content[at:]])


def png_kind(content: bytes) -> tuple[int, int]:
    """The bits per channel of a PNG file, and PNG's number for its kind of colours."""
    return content[24], content[25]


def bmp_alpha(content: bytes) -> np.ndarray | None:
    """The fourth byte of each pixel, uint8 H×W, of a BMP file that uses it for transparency; else None.

    With 32 bits and no compression the byte has no meaning by the header, but many programs write transparency there.
    It is not transparency if it is the same for all pixels.
    """
    if len(content) < 54:
        return None
    (start,), (header,) = struct.unpack("<I", content[10:14]), struct.unpack("<I", content[14:18])
    width, height, _, bits, compression = struct.unpack("<iiHHI", content[18:34])
    rows = abs(height)
    if header != 40 or bits != 32 or compression != 0 or len(content) < start + 4 * width * rows:
        return None
    pixels = np.frombuffer(content, np.uint8, 4 * width * rows, start).reshape(rows, width, 4)
    alpha = pixels[::-1, :, 3] if height > 0 else pixels[..., 3]
    return None if (alpha == alpha[0, 0]).all() else alpha.copy()
