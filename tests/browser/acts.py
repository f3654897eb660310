"""What people do on the pages."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
from PIL import Image
from playwright.sync_api import FilePayload, Page, expect

from tests.support.site import Site

REFUSAL = "This does not look like a brain MRI"
# The headline of whatever the network answers.
ANSWER = re.compile(rf"The network (sees|is unsure)|No reliable answer|{REFUSAL}")


def sign_in(page: Page, site: Site) -> None:
    """Enter as the administrator whom the first start has made."""
    kept = json.loads((site.folder / "accounts.json").read_text())["administrator"]
    page.goto("/account/login/")
    page.fill("[name=login]", kept["email"])
    page.fill("[name=password]", kept["password"])
    page.press("[name=password]", "Enter")
    page.wait_for_url(lambda address: "login" not in address)


def payload(content: bytes, name: str = "brain.png", mime_type: str = "image/png") -> FilePayload:
    return {"name": name, "mimeType": mime_type, "buffer": content}


def submit(page: Page, content: bytes, name: str = "brain.png") -> str:
    """Upload one picture by the file picker, wait for its answer and give its address."""
    page.goto("/")
    page.set_input_files("#images", [payload(content, name)])
    see_answer(page)
    return page.url


def see_answer(page: Page) -> None:
    page.wait_for_url("**/results/**")
    expect(page.locator("h1")).to_have_text(ANSWER)


def shown(page: Page, selector: str = "img[src$='image.png']") -> np.ndarray:
    """The pixels of a picture as the page shows it, one channel."""
    values = page.locator(selector).first.evaluate(
        """async (image) => {
            await image.decode();
            const canvas = document.createElement("canvas");
            canvas.width = image.naturalWidth;
            canvas.height = image.naturalHeight;
            const pen = canvas.getContext("2d");
            pen.drawImage(image, 0, 0);
            const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
            let text = "";
            for (let at = 0; at < data.length; at += 4) text += String.fromCharCode(data[at]);
            return [canvas.width, canvas.height, btoa(text)];
        }"""
    )
    width, height, coded = values
    flat = np.frombuffer(base64.b64decode(coded), np.uint8)
    return flat.reshape(height, width)


def uploaded(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def hand_over(page: Page, event: str, contents: list[tuple[str, bytes]]) -> None:
    """Drop or paste files, as the browser's own event would bring them."""
    files = [(name, base64.b64encode(content).decode()) for name, content in contents]
    page.evaluate(
        """([kind, files]) => {
            const brought = new DataTransfer();
            for (const [name, coded] of files) {
                const bytes = Uint8Array.from(atob(coded), (letter) => letter.charCodeAt(0));
                brought.items.add(new File([bytes], name, { type: "image/png" }));
            }
            const options = { bubbles: true, cancelable: true };
            const event = kind === "drop"
                ? new DragEvent("drop", { ...options, dataTransfer: brought })
                : new ClipboardEvent("paste", { ...options, clipboardData: brought });
            (document.querySelector("[data-drop]") ?? document.body).dispatchEvent(event);
        }""",
        [event, files],
    )


def tab_to(page: Page, selector: str, *, most: int = 60) -> None:
    """Press Tab until an element has the focus, as one without a mouse does."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("(what) => document.activeElement.matches(what)", selector):
            return
    raise AssertionError(f"{selector} cannot be reached by Tab on {page.url}")
