"""Which pictures and documents of the library the public may see."""

from django.http import HttpRequest
from wagtail.documents.models import Document
from wagtail.models import Page, ReferenceIndex

from education.models import Picture, PictureRendition


def find(name: str) -> tuple[Picture, str] | None:
    """The picture that a stored file belongs to, and an ETag; None if no picture knows it."""
    rendition = PictureRendition.objects.select_related("image").filter(file=name).first()
    if rendition is not None:
        return rendition.image, f'"{rendition.image.file_hash}-{rendition.pk}"'
    picture = Picture.objects.filter(file=name).first()
    if picture is not None:
        return picture, f'"{picture.file_hash}"'
    return None


def is_published(item: Picture | Document) -> bool:
    """Whether a published page shows it, or links to it."""
    users = ReferenceIndex.get_references_to(item).values_list("object_id", flat=True)
    return Page.objects.live().public().filter(pk__in=[int(pk) for pk in users]).exists()


def may_edit(request: HttpRequest) -> bool:
    return request.user.has_perm("wagtailadmin.access_admin")
