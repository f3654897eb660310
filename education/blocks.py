"""The building blocks of a page's text, as editors see them and as visitors read them."""

from typing import Any

from django.utils.text import slugify
from wagtail import blocks
from wagtail.images.blocks import ImageBlock

TEXT_FEATURES = ["bold", "italic", "ul", "ol", "link", "document-link"]

# Drawings in the page's own colours; each template holds the alternative text.
DIAGRAMS = [
    ("glioma", "Head with a glioma"),
    ("meningioma", "Head with a meningioma"),
    ("pituitary", "Head with a pituitary tumour"),
    ("mri", "How MRI works"),
    ("diagnosis", "Steps of a diagnosis"),
    ("treatment", "Four kinds of treatment"),
    ("network", "What the network does"),
]
HEADS = {"glioma", "meningioma", "pituitary"}


class HeadingBlock(blocks.CharBlock):
    """A heading that the list of contents can point to."""

    def get_context(
        self, value: str, parent_context: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(value, parent_context=parent_context)
        return {**context, "anchor": slugify(value)}

    class Meta:
        icon = "title"
        template = "education/blocks/heading.html"


class UrgentBlock(blocks.StructBlock):
    """When to seek help at once."""

    title = blocks.CharBlock(default="Get help at once")
    text = blocks.RichTextBlock(features=TEXT_FEATURES)

    class Meta:
        icon = "warning"
        label = "Urgent warning"
        template = "education/blocks/urgent.html"


class FigureBlock(blocks.StructBlock):
    """A picture from the library; its credit is kept with the picture."""

    image = ImageBlock()
    caption = blocks.CharBlock(required=False)

    class Meta:
        icon = "image"
        label = "Picture"
        template = "education/blocks/figure.html"


class DiagramBlock(blocks.StructBlock):
    """One of the site's own drawings."""

    name = blocks.ChoiceBlock(choices=DIAGRAMS, label="Drawing")
    caption = blocks.CharBlock(required=False)

    def get_context(
        self, value: blocks.StructValue, parent_context: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(value, parent_context=parent_context)
        drawing = "head" if value["name"] in HEADS else value["name"]
        return {**context, "drawing": f"education/diagrams/{drawing}.html"}

    class Meta:
        icon = "pick"
        template = "education/blocks/diagram.html"


class QuestionsBlock(blocks.StructBlock):
    """Questions to take to an appointment."""

    title = blocks.CharBlock()
    questions = blocks.ListBlock(blocks.CharBlock(label="Question"))

    class Meta:
        icon = "help"
        template = "education/blocks/questions.html"


class EntryBlock(blocks.StructBlock):
    """A word and what it means."""

    term = blocks.CharBlock()
    meaning = blocks.RichTextBlock(features=TEXT_FEATURES)

    class Meta:
        icon = "openquote"
        label = "Word"


class SourceBlock(blocks.StructBlock):
    """Where a statement can be checked."""

    title = blocks.CharBlock()
    publisher = blocks.CharBlock(help_text="With the year, if there is one.")
    url = blocks.URLBlock(label="Address")

    class Meta:
        icon = "link-external"
        label = "Source"


class BodyBlock(blocks.StreamBlock):
    """What the text of a page may be made of."""

    heading = HeadingBlock()
    paragraph = blocks.RichTextBlock(
        features=TEXT_FEATURES, icon="pilcrow", template="education/blocks/paragraph.html"
    )
    key_facts = blocks.ListBlock(
        blocks.CharBlock(label="Fact"), icon="list-ul", template="education/blocks/key_facts.html"
    )
    urgent = UrgentBlock()
    figure = FigureBlock()
    diagram = DiagramBlock()
    questions = QuestionsBlock()
