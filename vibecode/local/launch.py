"""Become a child that ends with its parent, as another user if asked, then exec the command. Run by child.start().

Usage: launch.py SIGNAL PARENT UID GID KEEP_ACCESS -- COMMAND…   (UID -1: stay who we are)
Runs with `python -I -S` for speed, so it imports the standard library only.
"""

import ctypes
import os
import sys

PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION = 0x20080522


def become(uid: int, gid: int, *, keep_access: bool) -> None:
    """Give up root for good. `keep_access` keeps the one right to pass folders such as /root (Linux)."""
    linux = sys.platform == "linux"
    libc = ctypes.CDLL(None, use_errno=True)
    if linux and keep_access:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if linux and keep_access:
        bit = 1 << CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
        effective_permitted_inheritable = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)
        libc.capset(header, effective_permitted_inheritable)
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def end_with_parent(parent: int, death_signal: int) -> None:
    """Ask the kernel for `death_signal` when the parent dies (Linux; elsewhere the guard does it)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(f"parent {parent} is gone")


def main() -> None:
    """Read the five words, then stop being Python."""
    death_signal, parent, uid, gid, keep_access = map(int, sys.argv[1:6])
    command = sys.argv[7:]
    if uid >= 0:
        become(uid, gid, keep_access=bool(keep_access))
    end_with_parent(parent, death_signal)  # after the change of user, which clears it
    try:
        os.execvp(command[0], command)  # noqa: S606 - our own command line
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
