"""Checks the metadata of the packages: metadata.py DIRECTORY, the folder `packaging`."""

import pathlib
import sys
import tempfile

import kconfiglib
import yaml
from idf_component_tools.manager import ManifestManager, UploadMode

# Symbols that Zephyr defines, and the target each set of them must lead to.
ZEPHYR = ["CPU_CORTEX_M4", "CPU_CORTEX_M7", "CPU_CORTEX_M33", "CPU_CORTEX_M55", "CPU_CORTEX_M85",
          "CPU_CORTEX_M0", "ARM64", "RISCV", "64BIT", "FPU", "FP_HARDABI"]
TARGETS = [
    (["CPU_CORTEX_M4", "FPU", "FP_HARDABI"], "thumbv7em-none-eabihf"),
    (["CPU_CORTEX_M7", "FPU", "FP_HARDABI"], "thumbv7em-none-eabihf"),
    (["CPU_CORTEX_M7"], "thumbv7em-none-eabi"),
    (["CPU_CORTEX_M33"], "thumbv8m.main-none-eabi"),
    (["CPU_CORTEX_M55", "FPU", "FP_HARDABI"], "thumbv8m.main-none-eabihf"),
    (["ARM64", "64BIT", "FPU"], "aarch64-unknown-none"),
    (["RISCV"], "riscv32imac-unknown-none-elf"),
    (["RISCV", "64BIT", "FPU"], "riscv64gc-unknown-none-elf"),
    (["CPU_CORTEX_M0"], None),
]
# Required by the Arduino library specification.
ARDUINO = ["name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url",
           "architectures"]


def check_zephyr(folder):
    module = yaml.safe_load((folder / "zephyr/module.yml").read_text())
    assert set(module) == {"name", "build"} and set(module["build"]) == {"cmake", "kconfig"}, module
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    kconfig = folder / module["build"]["kconfig"]
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory) / "Kconfig"
        symbols = "".join(f"config {name}\n\tbool \"{name}\"\n\n" for name in ZEPHYR)
        root.write_text(f'{symbols}source "{kconfig.resolve()}"\n')
        for chosen, target in TARGETS:
            config = kconfiglib.Kconfig(str(root), warn_to_stderr=False)
            assert not config.warnings, config.warnings
            for name in [*chosen, "CODA"]:
                config.syms[name].set_value("y")
            found = config.syms["CODA_RUST_TARGET"].str_value or None
            enabled = config.syms["CODA"].str_value == "y"
            assert (found if enabled else None) == target, (chosen, found, enabled)
        known = {line.split("=")[0] for line in (folder / "sample/prj.conf").read_text().split()}
        assert known == {"CONFIG_CODA", "CONFIG_FPU", "CONFIG_MAIN_STACK_SIZE"}, known
    return f"zephyr: module.yml, and Kconfig for {len(TARGETS)} kinds of CPU"


def check_esp_idf(folder, version):
    manifest = ManifestManager(str(folder), "coda", upload_mode=UploadMode.component).load()
    assert str(manifest.version) == version, manifest.version
    return f"esp-idf: idf_component.yml for {len(manifest.targets)} chips"


def check_arduino(folder, version):
    lines = (folder / "library.properties").read_text().splitlines()
    fields = dict(line.split("=", 1) for line in lines)
    assert all(fields.get(name) for name in ARDUINO), fields
    assert fields["version"] == version and fields["precompiled"] == "full", fields
    assert (folder / "src" / fields["includes"]).is_file()
    return f"arduino: library.properties, {len(fields)} fields"


def main():
    folder = pathlib.Path(sys.argv[1])
    workspace = (folder / "../../../Cargo.toml").read_text()
    version = workspace.split('version = "', 1)[1].split('"', 1)[0]
    print(check_zephyr(folder / "zephyr"))
    print(check_esp_idf(folder / "esp-idf", version))
    print(check_arduino(folder / "arduino", version))


main()
