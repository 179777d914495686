"""Small file systems of their own for data directories, and files that use them up."""

import os
import pathlib
import subprocess

import pytest

FULL = "No space left on device"


class Disks:
    """Makes folders small file systems of their own, and takes them away again."""

    def __init__(self):
        self.mounted = []

    def mount(self, folder, size_mib):
        folder = pathlib.Path(folder)
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "forebay-test", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            why = f"a small file system needs the right to mount one: {done.stderr.strip()}"
            pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
        self.mounted.append(folder)

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
