"""Pages about brain tumours, one model per kind of page, and the pictures they use."""

import math
from pathlib import PurePath
from typing import Any, ClassVar
from uuid import uuid4

from django.core.exceptions import ValidationError
from django.core.files.base import File
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.text import slugify
from wagtail.admin.panels import FieldPanel, FieldRowPanel, MultiFieldPanel
from wagtail.blocks import PageChooserBlock
from wagtail.fields import StreamField
from wagtail.images.models import AbstractImage, AbstractRendition, Filter, Image
from wagtail.models import Page, PageManager
from wagtail.search import index

from education.blocks import BodyBlock, EntryBlock, SourceBlock
from education.webp import is_lossless

WORDS_PER_MINUTE = 200


class Subject(models.TextChoices):
    TUMOURS = "tumours", "Kinds of tumour"
    CARE = "care", "Symptoms, diagnosis and treatment"
    SCANS = "scans", "Scans and this site"


class Picture(AbstractImage):
    """An image of the library. Its file name is never used twice, so it may be cached for ever."""

    credit = models.CharField(max_length=200, help_text="Who made it, and under which licence.")

    # Wagtail has no types; this tells the checker what Django provides.
    _default_manager: ClassVar[models.Manager["Picture"]]
    admin_form_fields = (*Image.admin_form_fields, "credit")

    def get_upload_to(self, filename: str) -> str:
        return f"pictures/{uuid4().hex}{PurePath(filename).suffix.lower()}"

    def generate_rendition_file(self, filter: Filter, *, source: File | None = None) -> File:  # noqa: A002  # Wagtail's name
        """Smaller ones of a lossless WebP are lossless, too: who chose it had a drawing, say."""
        wanted = filter
        if filter.spec.endswith("|format-webp"):
            # A handle of its own: Wagtail makes several sizes at once, in threads that share one.
            with self.file.storage.open(self.file.name) as original:
                if is_lossless(original):
                    wanted = Filter(f"{filter.spec}-lossless")
        return super().generate_rendition_file(wanted, source=source)


class PictureRendition(AbstractRendition):
    """A picture at one size."""

    image = models.ForeignKey(Picture, on_delete=models.CASCADE, related_name="renditions")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=("image", "filter_spec", "focal_point_key"), name="one_rendition_per_size"
            )
        ]

    def get_upload_to(self, filename: str) -> str:
        return f"renditions/{filename}"


class LearnIndexPage(Page):
    """The way in: every page, by subject."""

    intro = models.TextField(max_length=400)

    objects = PageManager()
    content_panels: ClassVar = [*Page.content_panels, FieldPanel("intro")]
    search_fields: ClassVar = [*Page.search_fields, index.SearchField("intro")]
    parent_page_types: ClassVar = ["wagtailcore.Page"]
    subpage_types: ClassVar = [
        "education.TumourPage",
        "education.TopicPage",
        "education.GlossaryPage",
    ]
    max_count = 1

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        pages = list(self.get_children().live().public().specific())
        context["groups"] = [
            (label, found)
            for value, label in Subject.choices
            if (found := [page for page in pages if page.subject == value])
        ]
        return context


class InfoPage(Page):
    """What all pages of information have: a summary, text, sources and dates of review."""

    subject = models.CharField(max_length=20, choices=Subject.choices, default=Subject.CARE)
    summary = models.TextField(max_length=300, help_text="One or two sentences, in plain words.")
    body = StreamField(BodyBlock())
    related = StreamField(
        [("page", PageChooserBlock(page_type=LearnIndexPage.subpage_types))], blank=True, max_num=4
    )
    sources = StreamField([("source", SourceBlock())], min_num=1)
    last_reviewed = models.DateField()
    next_review = models.DateField()
    reviewed_by = models.CharField(
        max_length=120,
        blank=True,
        help_text="The clinician who read it, with their role. Empty if none has.",
    )

    objects = PageManager()
    content_panels: ClassVar = [
        *Page.content_panels,
        FieldPanel("summary"),
        FieldPanel("subject"),
        FieldPanel("body"),
        FieldPanel("related"),
        FieldPanel("sources"),
        MultiFieldPanel(
            [
                FieldRowPanel([FieldPanel("last_reviewed"), FieldPanel("next_review")]),
                FieldPanel("reviewed_by"),
            ],
            heading="Review",
        ),
    ]
    search_fields: ClassVar = [
        *Page.search_fields,
        index.SearchField("summary", boost=2),
        index.AutocompleteField("searchable_text"),
    ]
    parent_page_types: ClassVar = ["education.LearnIndexPage"]
    subpage_types: ClassVar[list[str]] = []

    class Meta:
        abstract = True

    def clean(self) -> None:
        super().clean()
        if self.last_reviewed and self.next_review and self.next_review <= self.last_reviewed:
            raise ValidationError({"next_review": "The next review must be after the last one."})

    @property
    def text(self) -> str:
        """All words of the page's text, without marks."""
        return " ".join(self.body.stream_block.get_searchable_content(self.body))

    @property
    def searchable_text(self) -> str:
        return f"{self.summary} {self.text}"

    @property
    def reading_minutes(self) -> int:
        return max(1, math.ceil(len(self.searchable_text.split()) / WORDS_PER_MINUTE))

    @property
    def review_is_due(self) -> bool:
        return self.next_review < timezone.localdate()

    @cached_property
    def headings(self) -> list[tuple[str, str]]:
        """Anchor and text of each heading, for the list of contents."""
        return [
            (slugify(block.value), block.value)
            for block in self.body
            if block.block_type == "heading"
        ]

    def _related(self) -> list[Page]:
        """Those that anyone may read, in the order that the editor gave them."""
        chosen = [block["value"] for block in self.related.raw_data]
        found = Page.objects.filter(pk__in=chosen).live().public().specific()
        pages = {page.pk: page for page in found}
        return [pages[pk] for pk in chosen if pk in pages]

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        return {
            **context,
            "index": self.get_parent(),
            "related": self._related(),
            "previous": self.get_prev_siblings().live().public().first(),
            "next": self.get_next_siblings().live().public().first(),
        }


class TumourPage(InfoPage):
    """One kind of tumour."""

    also_called = models.CharField(max_length=200, blank=True)
    grows_from = models.CharField(max_length=200)
    how_common = models.CharField(max_length=200)
    grades = models.CharField("WHO grades", max_length=200)

    content_panels: ClassVar = [
        *InfoPage.content_panels[:2],
        MultiFieldPanel(
            [
                FieldPanel("also_called"),
                FieldPanel("grows_from"),
                FieldPanel("how_common"),
                FieldPanel("grades"),
            ],
            heading="At a glance",
        ),
        *InfoPage.content_panels[2:],
    ]


class TopicPage(InfoPage):
    """Anything else people need to know."""


class GlossaryPage(InfoPage):
    """Words and what they mean."""

    entries = StreamField([("entry", EntryBlock())])

    content_panels: ClassVar = [
        *InfoPage.content_panels[:4],
        FieldPanel("entries"),
        *InfoPage.content_panels[4:],
    ]

    @property
    def text(self) -> str:
        words = self.entries.stream_block.get_searchable_content(self.entries)
        return " ".join([super().text, *words])

    def get_context(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(request, *args, **kwargs)
        entries = [(slugify(block.value["term"]), block.value) for block in self.entries]
        context["entries"] = sorted(entries, key=lambda entry: entry[1]["term"].lower())
        return context
