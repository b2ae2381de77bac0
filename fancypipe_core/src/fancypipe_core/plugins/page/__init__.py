"""The page of a run: its journal as one file of HTML that needs neither network nor server.

The parts that the browser runs stand beside this file, and `document` joins them.
"""

from __future__ import annotations

from fancypipe_core.plugins.page.document import document
from fancypipe_core.plugins.page.live import LivePage
from fancypipe_core.plugins.page.observer import Page
from fancypipe_core.plugins.page.report import journal_of, write_report

__all__ = ["LivePage", "Page", "document", "journal_of", "write_report"]
