"""Does a path lie on a network file system? SQLite's locks do not hold there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

__all__ = ["file_system", "network_file_system"]

_NETWORK = re.compile(
    r"""nfs\d?|cifs|smbfs|smb\d?|ncpfs?|afs|afpfs|coda|ceph|lustre|gpfs|beegfs|glusterfs|pvfs2?|orangefs|ocfs2|gfs2|
    davfs2?|webdav|vboxsf|
    fuse\.(sshfs|s3fs|s3ql|gcsfuse|goofys|geesefs|rclone|blobfuse2?|glusterfs|ceph.*|cephfs|juicefs|davfs2?|curlftpfs|
    mount-s3|mountpoint-s3|seaweedfs|weed|beegfs.*|lizardfs|mfs|moosefs|hdfs|vmhgfs-fuse|cvmfs.*)""",
    re.VERBOSE,
)


def network_file_system(path: str, mounts: Iterable[tuple[str, str]] | None = None) -> str | None:
    """The kind of network file system that a path lies on, such as ``"nfs4"``; None when it is a local one.

    Parameters
    ----------
    path : str
        A file or folder that need not exist yet; links in it are followed.
    mounts : iterable of (str, str), optional
        Mount points and kinds of file systems; this machine's when not given.

    Examples
    --------
    >>> network_file_system("/data/runs.db", [("/", "ext4"), ("/data", "nfs4")])
    'nfs4'
    """
    kind = file_system(os.path.realpath(path), _mounts() if mounts is None else mounts)
    return kind if kind is not None and _NETWORK.fullmatch(kind) else None


def file_system(path: str, mounts: Iterable[tuple[str, str]]) -> str | None:
    """The kind of the file system whose mount point is the nearest above a path; of two on one point, the later.

    Examples
    --------
    >>> file_system("/home/ada/runs.db", [("/", "ext4"), ("/home", "nfs4"), ("/home2", "xfs")])
    'nfs4'
    """
    best, kind = "", None
    for point, its_kind in mounts:
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, its_kind
    return kind


def _mounts() -> list[tuple[str, str]]:
    try:
        lines = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return _mounts_elsewhere()
    fields = (line.split(" ") for line in lines)
    return [(_unescaped(parts[1]), parts[2]) for parts in fields if len(parts) > 2]


def _unescaped(point: str) -> str:
    r"""The kernel writes a blank in a mount point as ``\040``."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), point)


def _mounts_elsewhere() -> list[tuple[str, str]]:
    try:
        import psutil  # comes with distributed; without it, no check is better than no store
    except ImportError:
        return []
    return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]
