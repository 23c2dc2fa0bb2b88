"""Hooks of the documentation site.

The pages link to files of the repository with relative paths, so that they also work where the
repository is read as it is. On the site, files outside docs/ become links into the repository.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

_LINK = re.compile(r"(?<!\!)\]\((?P<path>\.\./[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links to files outside docs/ into links into the repository."""

    def absolute(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", page.file.src_uri, "..", found["path"]))
        if target.startswith("docs/"):
            return found[0]
        return f"]({config['repo_url']}/blob/main/{target}{found['anchor'] or ''})"

    return _LINK.sub(absolute, markdown)
