"""Models from the Hugging Face hub, in the cache that all its tools share. Safetensors only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from engine.core.errors import UserError
from engine.llm.models.catalog import DEFAULT
from engine.llm.models.folder import complete

WANTED = (".safetensors", ".json", ".jinja", "tokenizer.model", "merges.txt")
"""How the names of what is downloaded end: weights that are no code, configuration, tokenizer."""
POLL_SECONDS = 0.2


def find(hub_id: str) -> Path | None:
    """The snapshot of a model in the hub's cache, when it is complete. Touches no network."""
    if find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    try:
        config = try_to_load_from_cache(hub_id, "config.json")
    except ValueError:  # not a name the hub could know
        return None
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    return folder if complete(folder) else None


def wanted(name: str) -> bool:
    """Whether a file is downloaded: not other formats of the same weights, in folders of theirs."""
    return name.endswith(WANTED) and "/" not in name and not name.startswith("consolidated")


def download(hub_id: str, progress: Callable[[str, int, int], None]) -> Path:
    """Fetch a model into the hub's cache and return its snapshot. Raises UserError."""
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    stage = f"Downloading {hub_id}"
    progress(stage, 0, 0)
    try:
        if constants.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE is set")
        files = HfApi().model_info(hub_id, files_metadata=True, timeout=20).siblings or []
        sizes = {file.rfilename: file.size or 0 for file in files}
        names = [name for name in sizes if wanted(name)]
        if not any(name.endswith(".safetensors") for name in names):
            raise UserError(
                f"{hub_id}: this model has no safetensors weights; pickled ones can run code when "
                "they are read and are never loaded. Choose another model."
            )
        blobs = Path(constants.HF_HUB_CACHE) / f"models--{hub_id.replace('/', '--')}" / "blobs"
        with _watching(blobs, lambda done: progress(stage, done, sum(sizes[n] for n in names))):
            return Path(snapshot_download(hub_id, allow_patterns=names))
    except GatedRepoError as error:
        raise UserError(
            f"{hub_id}: its licence has to be accepted on the model's page first; then log in with "
            "`hf auth login` (or set HF_TOKEN) and try again."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{hub_id}: the hub has no such model (or it is private: `hf auth login`)."
        ) from error
    except UserError:
        raise
    except Exception as error:  # the hub's client raises whatever its HTTP library does
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UserError(
            f"{hub_id}: could not be downloaded from the hub ({reason}). Check the connection, "
            f"give a local folder instead, or use {DEFAULT}, which needs no hub."
        ) from error


class _watching:  # noqa: N801, used like a function
    """Tell the size of a folder again and again while something is downloaded into it."""

    def __init__(self, folder: Path, tell: Callable[[int], None]) -> None:
        self.folder, self.tell = folder, tell
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(POLL_SECONDS):
            size = 0
            for file in self.folder.glob("*"):
                try:
                    size += file.stat().st_size
                except OSError:  # renamed while we looked
                    continue
            self.tell(size)
