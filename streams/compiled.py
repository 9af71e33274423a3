"""Where numba keeps compiled kernels: a folder named by a hash of the engine's sources.

numba looks only at the file of the function itself, so a changed helper in another file would leave old machine code in use.
"""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

KEPT: Final = 3  # folders of older sources that stay, for whoever switches between versions


def use_cache() -> None:
    """Point numba at the folder of these sources, unless NUMBA_CACHE_DIR is set; called before the engine is imported."""
    if "NUMBA_CACHE_DIR" in os.environ:
        return
    hashed = hashlib.sha256()
    engine = Path(__file__).parents[1] / "engine"
    for source in sorted(engine.rglob("*.py")):
        hashed.update(str(source.relative_to(engine)).encode() + b"\0" + source.read_bytes())
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crossmargin" / "kernels"
    folder = root / hashed.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.touch()
        for old in sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError:  # a read-only home: compiled again in each start, but it works
        folder = Path(tempfile.gettempdir()) / f"crossmargin-kernels-{os.getuid()}" / folder.name
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
