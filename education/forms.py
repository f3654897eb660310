"""The form by which editors add pictures to the library."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from PIL import Image, ImageCms, ImageOps
from wagtail.images.forms import BaseImageForm

from education.webp import is_lossless

# What Pillow raises of pictures that end early or hold what they must not.
DAMAGED = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
ANIMATED = "This picture moves, which pages do not show: please save one frame of it."
UNREADABLE = "This picture cannot be read. It may be damaged: please try another export of it."


class PictureForm(BaseImageForm):
    """Keeps of a photograph its pixels, upright, and not who took it, where and with what."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "file" in self.fields:
            field = self.fields["file"]
            field.to_python = partial(_read, field.to_python)

    def clean_file(self) -> Any:
        upload = self.cleaned_data["file"]
        # While nothing else of a picture is changed, it is the file that is stored already.
        if isinstance(upload, UploadedFile):
            _strip(upload)
        return upload


def _read(read: Callable[[Any], Any], data: Any) -> Any:
    """Wagtail's own reading, which a truncated picture would end as a fault of the site."""
    try:
        return read(data)
    except DAMAGED as error:
        raise ValidationError(UNREADABLE, code="invalid_image") from error


def _in_srgb(image: Image.Image) -> Image.Image:
    """The same colours without a profile, which may name a camera; as it is if that is damaged."""
    profile = image.info.get("icc_profile")
    if profile:
        srgb = ImageCms.createProfile("sRGB")
        with suppress(ImageCms.PyCMSError, OSError):
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            image = ImageCms.profileToProfile(image, own, srgb) or image
    return image


def _strip(upload: UploadedFile) -> None:
    """Rewrite the upload itself: Wagtail keeps that while a field of the form is still missing."""
    draft = io.BytesIO()
    try:
        lossless = is_lossless(upload)
        upload.seek(0)
        with Image.open(upload) as source:
            # Some cameras put a second picture into the file of the first.
            kind = "JPEG" if source.format == "MPO" else source.format
            if kind != "JPEG" and getattr(source, "n_frames", 1) > 1:
                raise ValidationError(ANIMATED, code="invalid_image")
            image = _in_srgb(ImageOps.exif_transpose(source))
        image.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
        image.save(draft, kind, quality=95, lossless=lossless)
    except DAMAGED as error:
        raise ValidationError(UNREADABLE, code="invalid_image") from error
    upload.seek(0)
    upload.truncate()
    upload.write(draft.getvalue())
    upload.seek(0)
    upload.size = len(draft.getvalue())
