"""The frame of the local cloud's few pages for eyes: the mailbox, the payment provider's books."""

from html import escape

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 70rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse }
td, th { border-bottom: 1px solid #8884; padding: .3rem 1.2rem .3rem 0; text-align: left; white-space: nowrap }
details { border-bottom: 1px solid #8884; padding: .5rem 0 }
summary { cursor: pointer; overflow-wrap: anywhere }
summary small { color: GrayText; display: block }
iframe { background: #fff; border: 1px solid #8884; height: 40rem; margin-top: .5rem; width: 100% }
"""


def page(title: str, body: str) -> str:
    """A whole page; ``body`` is HTML, whose texts the caller has escaped."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style><h1>{escape(title)}</h1>{body}"
    )
