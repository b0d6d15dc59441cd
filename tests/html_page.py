"""A page as its parser sees it: every element with its attributes and its text."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "input", "base", "hr"}


@dataclass
class Element:
    """`text` is all text in it, that of the elements inside included."""

    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> list[Element]:
        """Every element of this tag below it, in the order of the page."""
        return [element for child in self.inside for element in ([child] if child.tag == tag else []) + child.all(tag)]

    def classed(self, name: str) -> list[Element]:
        mine = (self.attributes.get("class") or "").split()
        return [self] * (name in mine) + [element for child in self.inside for element in child.classed(name)]

    def everything(self) -> list[Element]:
        return [element for child in self.inside for element in [child, *child.everything()]]


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs))
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> ends <{self.open[-1].tag}>"  # our template closes what it opens
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parse(page: str) -> Element:
    """The whole page; an element that is not closed where it should be is an error."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert parser.open == [parser.root], [element.tag for element in parser.open]
    return parser.root


def squeezed(text: str) -> str:
    """White space as a reader sees it."""
    return " ".join(text.split())
