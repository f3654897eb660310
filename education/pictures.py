"""Which pictures and documents of the library the public may see."""

from dataclasses import dataclass

from django.contrib.contenttypes.models import ContentType
from django.http import HttpRequest
from wagtail.documents.models import Document
from wagtail.models import Page, ReferenceIndex

from education.models import Picture, PictureRendition


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored file of a picture.

    Attributes:
        shown: whether pages show this very file, rather than smaller ones made of it.
    """

    picture: Picture
    etag: str
    shown: bool


def find(name: str) -> Stored | None:
    """What is known of a stored file; None if it is no picture's."""
    rendition = PictureRendition.objects.select_related("image").filter(file=name).first()
    if rendition is not None:
        etag = f'"{rendition.image.file_hash}-{rendition.pk}"'
        return Stored(rendition.image, etag, shown=True)
    picture = Picture.objects.filter(file=name).first()
    if picture is not None:
        return Stored(picture, f'"{picture.file_hash}"', shown=False)
    return None


def is_published(item: Picture | Document) -> bool:
    """Whether a published page shows it, or links to it."""
    references = ReferenceIndex.get_references_to(item)
    # Other records have ids of their own, which may be those of pages as well.
    pages = references.filter(base_content_type=ContentType.objects.get_for_model(Page))
    users = [int(pk) for pk in pages.values_list("object_id", flat=True)]
    return Page.objects.live().public().filter(pk__in=users).exists()


def may_edit(request: HttpRequest) -> bool:
    return request.user.has_perm("wagtailadmin.access_admin")
