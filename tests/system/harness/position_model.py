# SPDX-License-Identifier: ISC
"""The relay's own position_model.c, which says what a claim takes where rows stay, and where it leaves the position."""
import ctypes
import os
import subprocess

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "..")


class Snapshot(ctypes.Structure):
    _fields_ = [("xmin", ctypes.c_uint64), ("xmax", ctypes.c_uint64),
                ("running", ctypes.POINTER(ctypes.c_uint64)), ("running_count", ctypes.c_size_t)]


class Position(ctypes.Structure):
    _fields_ = [("finished", Snapshot), ("target", Snapshot), ("has_target", ctypes.c_bool),
                ("has_reached", ctypes.c_bool), ("reached", ctypes.c_int64), ("walks", ctypes.c_bool)]


class Start(ctypes.Structure):
    _fields_ = [("first", ctypes.c_size_t), ("goal", Snapshot), ("bound", ctypes.c_bool), ("apart", ctypes.c_bool)]


class Row(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int64), ("size", ctypes.c_int64), ("held", ctypes.c_bool)]


class Limits(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_int64), ("bytes", ctypes.c_int64), ("few", ctypes.c_int64),
                ("stale", ctypes.c_uint64)]


class Taken(ctypes.Structure):
    _fields_ = [("rows", ctypes.c_size_t), ("cut", ctypes.c_bool), ("writes", ctypes.c_bool), ("behind", Position),
                ("moves", ctypes.c_bool)]


class Positions:
    """Built into `directory`."""

    def __init__(self, directory):
        path = os.path.join(directory, "positions.so")
        sources = [os.path.join(ROOT, "relay", name) for name in ("outbox/position_model.c", "base/xalloc.c")]
        headers = [f"-I{os.path.join(ROOT, name)}" for name in ("include", "relay")]
        subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-shared", "-fPIC", *headers, "-o", path, *sources],
                       check=True)
        self.rooms = []
        self.library = ctypes.CDLL(path)
        self.library.position_start.restype = Start
        self.library.position_take.restype = Taken
        self.library.position_is_next.restype = ctypes.c_bool
        self.library.position_is_next.argtypes = [ctypes.POINTER(Position), ctypes.POINTER(Snapshot), ctypes.c_uint64,
                                                  ctypes.c_int64]
        self.library.position_settles.restype = ctypes.c_bool
        self.library.position_settles.argtypes = [ctypes.POINTER(Position), ctypes.c_uint64, ctypes.c_int64]
        self.library.pgsnapshot_parse.restype = ctypes.c_bool
        self.library.pgsnapshot_print.restype = ctypes.c_void_p
        self.libc = ctypes.CDLL(None)
        self.libc.free.argtypes = [ctypes.c_void_p]

    def snapshot(self, text):
        """Of a pg_snapshot's text."""
        made, room = Snapshot(), (ctypes.c_uint64 * 1000)()
        assert self.library.pgsnapshot_parse(ctypes.byref(made), text.encode(), room, ctypes.c_size_t(1000)), text
        self.rooms.append(room)  # it is borrowed
        return made

    def text(self, snapshot):
        printed = self.library.pgsnapshot_print(ctypes.byref(snapshot))
        text = ctypes.string_at(printed).decode()
        self.libc.free(printed)
        return text

    def position(self, finished, target, reached, walks):
        """Of a row of outbox_relay.positions."""
        return Position(finished=self.snapshot(finished), target=self.snapshot(target or "1:1:"),
                        has_target=target is not None, has_reached=reached is not None, reached=reached or 0,
                        walks=walks)

    def columns(self, position):
        """And back."""
        target = self.text(position.target) if position.has_target else None
        reached = position.reached if position.has_reached else None
        return self.text(position.finished), target, reached, position.walks

    def start(self, positions, present):
        array = (Position * len(positions))(*positions)
        return self.library.position_start(array, ctypes.c_size_t(len(positions)), ctypes.byref(present))

    def is_next(self, position, goal, x, number):
        return self.library.position_is_next(ctypes.byref(position), ctypes.byref(goal), x, number)

    def settles(self, position, x, number):
        return self.library.position_settles(ctypes.byref(position), x, number)

    def take(self, position, start, rows, limits):
        array = (Row * (len(rows) + 1))(*rows)
        return self.library.position_take(ctypes.byref(position), ctypes.byref(start), array,
                                          ctypes.c_size_t(len(rows)), ctypes.byref(limits))
