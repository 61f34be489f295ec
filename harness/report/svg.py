"""The few shapes that the charts are made of; colours, strokes and type are classes of the page's style."""

from __future__ import annotations

from html import escape


def rectangle(  # noqa: PLR0913 - a rectangle has four sides
    left: float, top: float, right: float, bottom: float, *, style: str, title: str = "", radius: int = 0
) -> str:
    """A filled box; `title` is what a browser shows over it."""
    told = f"<title>{escape(title)}</title>" if title else ""
    rounded = f' rx="{radius}"' if radius else ""
    return (
        f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0):.1f}" '
        f'height="{bottom - top:.1f}"{rounded}>{told}</rect>'
    )


def vertical(x: float, top: float, bottom: float, style: str) -> str:
    """A line from top to bottom."""
    return f'<line class="{style}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'


def text(x: float, y: float, content: str, *, style: str) -> str:
    """One line of text at its baseline; where it hangs (start, middle, end) is the style's business."""
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(content)}</text>' if content else ""
