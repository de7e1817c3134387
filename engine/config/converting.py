"""The lock under which msgspec takes a type apart."""

from __future__ import annotations

import threading

converting = threading.Lock()
"""msgspec takes a type apart at its first use; two threads doing that at once crash Python."""
