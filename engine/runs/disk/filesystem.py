"""Is a folder on a network filesystem? SQLite's WAL needs shared memory, which those lack."""

from __future__ import annotations

import re
from pathlib import Path

# fmt: off
NETWORK_TYPES = frozenset({
    "9p", "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.davfs", "fuse.gcsfuse",
    "fuse.glusterfs", "fuse.rclone", "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs",
    "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb", "smb2",
    "smb3", "smbfs", "vboxsf",
})
# fmt: on
MOUNTS = Path("/proc/self/mounts")


def filesystem_type(folder: Path) -> str | None:
    """The type of the filesystem that holds `folder` ("ext4", "nfs4", …); None if unknown."""
    try:
        lines = MOUNTS.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return None
    folder = folder.resolve()
    best, kind = -1, None
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        # The kernel writes blanks in a mount point as octal escapes.
        mount = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), fields[1]))
        # Later mounts hide earlier ones on the same point, hence >=.
        if folder.is_relative_to(mount) and len(mount.parts) >= best:
            best, kind = len(mount.parts), fields[2]
    return kind


def network_filesystem(folder: Path) -> str | None:
    """The filesystem's type if it is a network filesystem, else None."""
    kind = filesystem_type(folder)
    return kind if kind in NETWORK_TYPES else None
