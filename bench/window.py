"""Runs in a desktop: a window that moves by itself, one that shows a film, or that goes where the
pointer goes.

`python3 - circle|film|follow`; it says `ready` when it is to be seen.
"""

import math
import os
import sys

import gi

gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Gdk, GdkPixbuf, GLib, Gtk  # noqa: E402

_SIZES = {"circle": (600, 400), "film": (640, 360), "follow": (300, 200)}
#: Times a second.
_MOVES, _FRAMES = 60, 30


def pictures(width: int, height: int, count: int) -> list[GdkPixbuf.Pixbuf]:
    """Something like frames of a film: neither flat nor noise alone."""
    made = []
    for number in range(count):
        pixels = bytearray(os.urandom(3 * width * height))
        for y in range(height):
            shade = 128 + 96 * math.sin(y / 41 + number)
            for x in range(0, width, 4):
                at = 3 * (y * width + x)
                # Three of four are smooth.
                colour = bytes((int(shade), x * 255 // width, (x ^ y) % 256))
                pixels[at : at + 9] = 3 * colour
        made.append(
            GdkPixbuf.Pixbuf.new_from_bytes(
                GLib.Bytes.new(bytes(pixels)),
                GdkPixbuf.Colorspace.RGB,
                False,
                8,
                width,
                height,
                3 * width,
            )
        )
    return made


def circle(window: Gtk.Window) -> None:
    angle = 0.0

    def step() -> bool:
        nonlocal angle
        angle += math.pi / _MOVES
        window.move(int(330 + 300 * math.cos(angle)), int(190 + 180 * math.sin(angle)))
        return True

    GLib.timeout_add(1000 // _MOVES, step)


def film(window: Gtk.Window, image: Gtk.Image) -> None:
    window.move(100, 100)
    frames = pictures(*_SIZES["film"], 12)
    number = 0

    def show() -> bool:
        nonlocal number
        number += 1
        image.set_from_pixbuf(frames[number % len(frames)])
        return True

    GLib.timeout_add(1000 // _FRAMES, show)


def follow(window: Gtk.Window) -> None:
    window.connect(
        "motion-notify-event", lambda _, event: window.move(int(event.x_root), int(event.y_root))
    )
    window.add_events(Gdk.EventMask.POINTER_MOTION_MASK)
    seat = Gdk.Display.get_default().get_default_seat()

    def hold() -> bool:
        # The window has to be seen before it can hold the pointer.
        kept = seat.grab(
            window.get_window(), Gdk.SeatCapabilities.POINTER, True, None, None, None, None
        )
        return kept != Gdk.GrabStatus.SUCCESS

    GLib.timeout_add(20, hold)


def main(how: str) -> None:
    window = Gtk.Window(type=Gtk.WindowType.POPUP)
    image = Gtk.Image.new_from_pixbuf(pictures(*_SIZES[how], 1)[0])
    window.add(image)
    window.move(0, 0)
    window.show_all()
    match how:
        case "circle":
            circle(window)
        case "film":
            film(window, image)
        case "follow":
            follow(window)
    GLib.timeout_add(500, lambda: print("ready", flush=True))
    Gtk.main()


if __name__ == "__main__":
    main(sys.argv[1])
