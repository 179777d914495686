"""File systems of their own for data directories: small ones with files that use them up, and such as turn read-only."""

import os
import pathlib
import subprocess

import pytest

FULL = "No space left on device"
READ_ONLY = "Read-only file system"


class Disks:
    """Makes folders small file systems of their own, and takes them away again."""

    def __init__(self):
        self.mounted = []

    def mount(self, folder, size_mib):
        folder = pathlib.Path(folder)
        folder.mkdir()
        self._mount(folder, "-t", "tmpfs", "-o", f"size={size_mib}m", "forebay-test")

    def bind(self, folder):
        """Make a folder of the disk a mount of its own, which can be made read-only."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._mount(folder, "--bind", folder)

    def _mount(self, folder, *args):
        done = subprocess.run(["mount", *args, folder], capture_output=True, text=True)
        if done.returncode != 0:
            why = f"a file system of its own needs the right to mount one: {done.stderr.strip()}"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
        self.mounted.append(folder)

    @staticmethod
    def remount(folder, mode):
        """Make what `bind` made "ro" or "rw"; False while a file there is open for writing."""
        done = subprocess.run(["mount", "-o", f"remount,bind,{mode}", folder], capture_output=True, text=True)
        assert done.returncode == 0 or "busy" in done.stderr, done.stderr
        return done.returncode == 0

    def take_away(self):
        for folder in self.mounted:
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    """Use up the disk of `folder`; returns the file that does."""
    path = pathlib.Path(folder) / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError as error:
            assert FULL in str(error)
    return path
