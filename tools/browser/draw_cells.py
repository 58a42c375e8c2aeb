"""Draws a picture that looks like a blood smear to a detector of blood cells, for the screenshot of the page.

    python tools/browser/draw_cells.py cells.png

Needs Pillow.
"""
import math
import random
import sys

from PIL import Image, ImageDraw, ImageFilter

WIDTH, HEIGHT, SCALE = 640, 480, 2


def blob(draw, x, y, radius, colour, wobble=0.06):
    phase = draw.random() * math.tau
    points = []
    for step in range(60):
        angle = math.tau * step / 60
        r = radius * (1 + wobble * math.sin(2 * angle + phase) + wobble / 2 * math.sin(3 * angle - phase))
        points.append((SCALE * (x + r * math.cos(angle)), SCALE * (y + r * math.sin(angle))))
    return points, colour


def main():
    draw = random.Random(4)
    picture = Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), (226, 218, 216))
    canvas = ImageDraw.Draw(picture, "RGBA")
    taken = [(330, 225, 95)]
    while len(taken) < 17:
        x, y, radius = draw.uniform(30, WIDTH - 30), draw.uniform(30, HEIGHT - 30), draw.uniform(42, 52)
        if all(math.hypot(x - a, y - b) > 0.93 * (radius + r) for a, b, r in taken):
            taken.append((x, y, radius))
    for x, y, radius in taken[1:]:
        canvas.polygon(*blob(draw, x, y, radius, (205, 150, 140, 235)))
        for step in range(8):
            inner = radius * (0.62 - 0.05 * step)
            canvas.polygon(*blob(draw, x, y, inner, (226, 200, 192, 40), 0.03))
    x, y, radius = taken[0]
    canvas.polygon(*blob(draw, x, y, radius, (190, 165, 190, 255)))
    for dx, dy, r in ((-30, -15, 42), (25, -25, 40), (5, 32, 44)):
        canvas.polygon(*blob(draw, x + dx, y + dy, r, (96, 52, 138, 240)))
    for _ in range(3):
        canvas.polygon(*blob(draw, draw.uniform(40, 600), draw.uniform(40, 440), 11, (140, 90, 160, 240), 0.2))
    picture = picture.filter(ImageFilter.GaussianBlur(2 * SCALE)).resize((WIDTH, HEIGHT), Image.LANCZOS)
    noise = Image.effect_noise((WIDTH, HEIGHT), 14).convert("RGB")
    Image.blend(picture, noise, 0.06).save(sys.argv[1])


if __name__ == "__main__":
    main()
