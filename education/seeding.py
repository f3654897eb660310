"""Puts the first pages and the editors' group in place, and leaves alone what is there."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.db import transaction
from wagtail.models import Collection, GroupCollectionPermission, GroupPagePermission, Page, Site

from education.models import GlossaryPage, InfoPage, LearnIndexPage, TopicPage, TumourPage

CONTENT = Path(__file__).parent / "content"
EDITORS = "Editors"
KINDS: dict[str, type[InfoPage]] = {
    "tumour": TumourPage,
    "topic": TopicPage,
    "glossary": GlossaryPage,
}
PAGE_PERMISSIONS = ("add_page", "change_page", "publish_page", "lock_page", "unlock_page")
LIBRARY_PERMISSIONS = tuple(
    f"{action}_{model}" for action in ("add", "change", "choose") for model in ("image", "document")
)


@dataclass(frozen=True, slots=True)
class Draft:
    """One content file: `<order>-<slug>.toml`."""

    slug: str
    kind: type[InfoPage]
    fields: dict[str, Any]
    related: list[str]
    streams: dict[str, list[tuple[str, Any]]]


def read(file: Path) -> Draft:
    """A content file as a page to make. In `body`, each table's one key is the kind of block."""
    fields = tomllib.loads(file.read_text(encoding="utf-8"))
    streams = {
        "body": [block for table in fields.pop("body", []) for block in table.items()],
        "sources": [("source", source) for source in fields.pop("sources")],
    }
    if "entries" in fields:
        streams["entries"] = [("entry", entry) for entry in fields.pop("entries")]
    return Draft(
        slug=file.stem.partition("-")[2],
        kind=KINDS[fields.pop("kind")],
        related=fields.pop("related", []),
        fields=fields,
        streams=streams,
    )


@transaction.atomic
def seed() -> list[str]:
    """Make what is missing. Returns the addresses of the new pages."""
    index = LearnIndexPage.objects.first() or _make_index()
    _set_site(index)
    _set_editors(index)
    present = set(index.get_children().values_list("slug", flat=True))
    drafts = [
        draft
        for file in sorted(CONTENT.glob("[0-9]*.toml"))
        if (draft := read(file)).slug not in present
    ]
    # All pages first, so that each may link to any other.
    pages = [(index.add_child(instance=_empty_page(draft)), draft) for draft in drafts]
    ids: dict[str, int] = dict(index.get_children().values_list("slug", "pk"))
    for page, draft in pages:
        _fill(page, draft, ids)
        _publish(page)
    return [page.get_url() for page, _ in pages]


def _make_index() -> LearnIndexPage:
    root = Page.get_first_root_node()
    fields = tomllib.loads((CONTENT / "index.toml").read_text(encoding="utf-8"))
    index: LearnIndexPage = root.add_child(instance=LearnIndexPage(slug="learn", **fields))
    _publish(index)
    return index


def _publish(page: Page) -> None:
    # Wagtail's history offers only logged revisions to go back to.
    page.save_revision(log_action=True).publish()


def set_address(site: Site) -> bool:
    """SITE_URL decides the address, which Wagtail keeps in the database; to be saved by the caller.

    Returns:
        Whether it was another one.
    """
    before = (site.hostname, site.port)
    address = urlsplit(settings.SITE_URL)
    site.hostname = address.hostname
    site.port = address.port or (443 if address.scheme == "https" else 80)
    return (site.hostname, site.port) != before


def _set_site(index: LearnIndexPage) -> None:
    """The site begins with our pages; Wagtail's greeting page makes way."""
    site = Site.objects.filter(is_default_site=True).first() or Site(is_default_site=True)
    set_address(site)
    site.site_name = settings.WAGTAIL_SITE_NAME
    greeting = None
    if not site.pk or not LearnIndexPage.objects.filter(pk=site.root_page_id).exists():
        greeting = Page.objects.filter(pk=site.root_page_id, content_type__model="page").first()
        site.root_page = index
    site.save()
    if greeting is not None and not greeting.get_children().exists():
        greeting.delete()


def _set_editors(index: LearnIndexPage) -> None:
    """Editors may do all that pages need, and nothing else. Set once; then it is the admin's."""
    group, _ = Group.objects.get_or_create(name=EDITORS)
    if GroupPagePermission.objects.filter(group=group, page=index).exists():
        return
    GroupPagePermission.objects.filter(group=group).delete()
    group.permissions.add(
        Permission.objects.get(content_type__app_label="wagtailadmin", codename="access_admin")
    )
    for codename in PAGE_PERMISSIONS:
        permission = Permission.objects.get(
            content_type__app_label="wagtailcore", codename=codename
        )
        GroupPagePermission.objects.create(group=group, page=index, permission=permission)
    for codename in LIBRARY_PERMISSIONS:
        permission = Permission.objects.get(
            content_type__app_label__in=["wagtailimages", "wagtaildocs"], codename=codename
        )
        GroupCollectionPermission.objects.get_or_create(
            group=group, collection=Collection.get_first_root_node(), permission=permission
        )


def _empty_page(draft: Draft) -> InfoPage:
    page = draft.kind(slug=draft.slug, live=False, **draft.fields)
    for name, blocks in draft.streams.items():
        setattr(page, name, _stream(page, name, blocks, {}))
    return page


def _fill(page: InfoPage, draft: Draft, ids: dict[str, int]) -> None:
    for name, blocks in draft.streams.items():
        setattr(page, name, _stream(page, name, blocks, ids))
    page.related = [("page", Page.objects.get(pk=ids[slug])) for slug in draft.related]


def _stream(page: InfoPage, name: str, blocks: list[tuple[str, Any]], ids: dict[str, int]) -> Any:
    raw = [{"type": kind, "value": _linked(value, ids)} for kind, value in blocks]
    return getattr(page, name).stream_block.to_python(raw)


def _linked(value: Any, ids: dict[str, int]) -> Any:
    """Turn `href="page:slug"` into Wagtail's own links, which follow a page when it moves."""
    if isinstance(value, dict):
        return {key: _linked(part, ids) for key, part in value.items()}
    if isinstance(value, list):
        return [_linked(part, ids) for part in value]
    return re.sub(
        r'href="page:([\w-]+)"',
        lambda match: f'linktype="page" id="{ids.get(match[1], 0)}"',
        value,
    )
