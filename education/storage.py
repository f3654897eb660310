"""Storage of the library's pictures in a bucket."""

from django.conf import settings
from django.utils.encoding import filepath_to_uri
from storages.backends.s3 import S3Storage


class PictureS3Storage(S3Storage):
    """Gives the site's own address of a file.

    A signed link would be kept in pages and previews for longer than it is good for, and a
    picture is only public while a published page shows it: `education.views.media` decides.
    """

    def url(
        self,
        name: str,
        parameters: object = None,
        expire: object = None,
        http_method: object = None,
    ) -> str:
        return f"{settings.MEDIA_URL}{filepath_to_uri(name)}"
