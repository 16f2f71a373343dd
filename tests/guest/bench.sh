# SPDX-License-Identifier: Apache-2.0
# The bench tells what it measured: single operations under both engines, every row of them; ratios, tables and the plot
# from made-up figures.
command -v python3 >/dev/null || { echo "python3 is not installed"; exit 77; }
[ -z "$SHORT" ] || { echo "the sanitizers are for other builds"; exit 77; }
make -s BUILD="$BUILD" "$BUILD/bench/nano.elf" "$BUILD/bench/nano" || exit 1
[ -x "$BUILD/doppel" ] || exit 1
timeout 100 bench/run --build "$BUILD" --rows nano --rounds 1 --engines interp,translate --peers none \
	--json "$TMPDIR/nano.json" >"$TMPDIR/out" 2>&1 || { cat "$TMPDIR/out"; exit 1; }
python3 - "$TMPDIR" <<'EOP' || { cat "$TMPDIR/out"; exit 1; }
import json
import sys
import xml.dom.minidom

sys.path.insert(0, "bench")
sys.dont_write_bytecode = True
import plot
import suite

cycles = json.load(open(sys.argv[1] + "/nano.json"))["nano"]["cycles"]
rows = ("cpuid rdtsc call-return indirect-call self-modifying-store rep-movsb-4096 locked-add pushf-popf "
        "syscall-sysret interrupt-iret page-fault divide-error pte-write-invlpg cr3-load cr3-load-pcid-flush "
        "cr3-load-pcid-keep in-64 out-80 cli-sti ipi-and-answer timer-late-median timer-late-worst").split()
for engine in "doppel interp", "doppel translate":
    missing = [r for r in rows if not cycles[engine].get(r, [0])[0] > 0]
    assert not missing, (engine, missing)
assert cycles["native"]["linux-getppid"][0] > 0

# 2 and 8 times native: the least of the rounds and the median are taken inside the rounds.
data = {"native": {r: [1.0, 2.0, 3.0] for r in suite.ROWS}, "x": {r: [2.0, 4.0, 12.0] for r in suite.ROWS},
        "y": {r: [8.0, 16.0, 24.0] for r in suite.ROWS[:3]}}
base, ratios = plot.ratios(data, suite.ROWS)
assert base == "native" and ratios["x"]["find"] == 2.0 and ratios["y"] == {r: 8.0 for r in suite.ROWS[:3]}, ratios
plot.write(sys.argv[1] + "/plot.svg", data, suite.ROWS)
bars = xml.dom.minidom.parse(sys.argv[1] + "/plot.svg").getElementsByTagName("title")
assert len(bars) == len(suite.ROWS) + 3, len(bars)
EOP
