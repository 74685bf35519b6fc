#!/bin/bash
# Writes the sound files of tests/data/sounds anew: 0.4 s of a tone of 440 Hz, left at half of full scale, right at a
# quarter, 22,050 Hz. Needs python3 and Debian's lame, flac, vorbis-tools and opus-tools.
set -e
cd "$(dirname "$0")/sounds"
python3 - <<'EOF'
import math, struct, wave
with wave.open("tone.wav", "wb") as out:
    out.setnchannels(2), out.setsampwidth(2), out.setframerate(22050)
    tone = [math.sin(2 * math.pi * 440 * at / 22050) for at in range(8820)]
    out.writeframes(b"".join(struct.pack("<hh", round(16384 * x), round(8192 * x)) for x in tone))
EOF
lame --quiet -V 7 tone.wav tone.mp3
flac --silent --force --no-padding --no-seektable tone.wav -o tone.flac
oggenc --quiet -q 1 --serial 1 tone.wav -o tone.ogg
opusenc --quiet --serial 1 --bitrate 16 --padding 0 tone.wav tone.opus
rm tone.wav
