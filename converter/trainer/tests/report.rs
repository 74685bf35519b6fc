//! The results page from a few lines of records, to the letter.

#![expect(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use coda_trainer::report::{fill, report};
use coda_trainer::results::Results;
use tempfile::TempDir;

const TRAININGS: &str = r#"{"defaults":{"method":"coda","selection":"learned","steps":600}}
{"name":"r8/adapter-s1","settings":{"method":"parallel-adapter"},"sources":[["config.json","c0"]],"data":{"file":"train.tsv","sha256":"da","samples":100,"training":95,"validation":5},"trained_parameters":3,"frozen_parameters":97,"new_parameters_percent":1.25,"steps":600,"best_step":400,"seconds":180.0,"test":{"file":"test.tsv","sha256":"7e","samples":20,"reductions":[{"reduction":1.0,"accuracy":90.0,"loss":0.3}]},"versions":{"coda_trainer":"0.1.0","target":"x86_64-linux","threads":1}}
{"name":"r8/coda-s1","settings":{},"sources":[],"data":{"file":"train.tsv","sha256":"da","samples":100,"training":95,"validation":5},"trained_parameters":3,"frozen_parameters":97,"new_parameters_percent":2.5,"steps":600,"best_step":600,"seconds":120.0,"test":{"file":"test.tsv","sha256":"7e","samples":20,"reductions":[{"reduction":1.0,"accuracy":90.0,"loss":0.3},{"reduction":4.0,"accuracy":85.0,"loss":0.4}]},"versions":{"coda_trainer":"0.1.0","target":"x86_64-linux","threads":1},"pairs":{"random":[{"reduction":4.0,"own":13,"other":3}]}}
{"name":"r8/random-s1","settings":{"selection":"random"},"sources":[],"data":{"file":"train.tsv","sha256":"da","samples":100,"training":95,"validation":5},"trained_parameters":3,"frozen_parameters":97,"new_parameters_percent":2.5,"steps":600,"best_step":600,"seconds":60.0,"test":{"file":"test.tsv","sha256":"7e","samples":20,"reductions":[{"reduction":4.0,"accuracy":35.0,"loss":0.9}]},"versions":{"coda_trainer":"0.1.0","target":"x86_64-linux","threads":1}}
{"name":"dev-a-trial","settings":{},"sources":[],"data":{"file":"train.tsv","sha256":"da","samples":100,"training":95,"validation":5},"trained_parameters":3,"frozen_parameters":97,"new_parameters_percent":2.5,"steps":300,"best_step":300,"seconds":60.0,"validation":[{"reduction":4.0,"accuracy":71.25,"loss":0.9}],"test":null,"versions":{"coda_trainer":"0.1.0","target":"x86_64-linux","threads":1}}
"#;

const EVALUATIONS: &str = r#"{"name":"r8/adapter-s1","cpu":"a CPU","kernels":"avx2","samples":20,"tokens":9,"arena_bytes":64,"reductions":[{"reduction":1.0,"accuracy":90.0,"median_ms":4.0,"speed_up":1.0}]}
{"name":"r8/coda-s1","cpu":"a CPU","kernels":"avx2","samples":20,"tokens":9,"arena_bytes":64,"reductions":[{"reduction":1.0,"accuracy":90.0,"median_ms":4.2,"speed_up":1.0,"end_to_end_ms":4.3,"end_to_end_speed_up":1.0},{"reduction":4.0,"accuracy":85.0,"median_ms":1.6,"speed_up":2.625,"end_to_end_ms":1.7,"end_to_end_speed_up":2.529}]}
{"name":"r8/scheduled-s1","cpu":"another","kernels":"neon","samples":20,"tokens":9,"arena_bytes":64,"reductions":[{"reduction":null,"accuracy":80.0,"median_ms":1.0,"speed_up":1.0}]}
"#;

const PAGE: &str = "
## Reuters R8

int8 packages in the runtime, 20 test samples one at a time, avx2 kernels on a CPU (of 1 records from another machine the accuracy alone):

| method | r | new parameters, % | accuracy, % | to the adapter | median, ms | to the adapter, another run | to its own first r, interleaved | from text, ms | the same, interleaved |
|---|---|---|---|---|---|---|---|---|---|
| adapter | 1 | 1.25 | 90.00 (1 seed) | +0.00 | 4.000 | 1.00x | 1.00x | - | - |
| coda | 1 | 2.50 | 90.00 (1 seed) | +0.00 | 4.200 | 0.95x | 1.00x | 4.300 | 1.00x |
| coda | 4 | 2.50 | 85.00 (1 seed) | -5.00 | 1.600 | 2.50x | 2.62x | 1.700 | 2.53x |
| scheduled | schedule | - | 80.00 (1 seed) | -10.00 | - | - | - | - | - |

f32, by the trainer, test set looked at once:

| method | steps | minutes | r = 1 | r = 4 |
|---|---|---|---|---|
| adapter | 600 | 3 | 90.00 (1 seed) | - |
| coda | 600 | 2 | 90.00 (1 seed) | 85.00 (1 seed) |
| random | 600 | 1 | - | 35.00 (1 seed) |

Learned routing against others, seed by seed and sample by sample (right only with the router / only with the other):

| pair | seed | r = 4 |
|---|---|---|
| coda / random | 1 | 13 / 3 (+2.5 σ) |
";

fn records(trainings: &str) -> (TempDir, anyhow::Result<Results>) {
    let directory = TempDir::new().unwrap();
    let files = [
        ("trainings.jsonl", trainings),
        ("evaluations.jsonl", EVALUATIONS),
        ("titles.json", r#"{"r8": "Reuters R8"}"#),
    ];
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    let results = Results::read(directory.path());
    (directory, results)
}

#[test]
fn the_page_of_a_few_lines_is_known() {
    let (_, results) = records(TRAININGS);
    let page = report(&results.unwrap()).unwrap();
    assert_eq!(page.text, PAGE);
    assert!(page.picture.contains("<svg"));
}

#[test]
fn text_has_the_figures_of_trials() {
    let results = records(TRAININGS).1.unwrap();
    let fill = |text: &str| fill(text, &results);
    assert_eq!(fill("| {dev-a-trial new} | {dev-a-trial r=4} |").unwrap(), "| 2.50 | 71.2 |");
    for text in ["{dev-a-trial r=8}", "{another r=4}", "{dev-a-trial r=4"] {
        assert!(fill(text).is_err(), "{text}");
    }
}

#[test]
fn records_that_are_read_and_written_are_the_same() {
    let (directory, results) = records(TRAININGS);
    let results = results.unwrap();
    results.write(directory.path()).unwrap();
    let read = |name| std::fs::read_to_string(directory.path().join(name)).unwrap();
    assert_eq!(Results::read(directory.path()).unwrap(), results);
    assert_eq!(read("evaluations.jsonl"), EVALUATIONS);
    let adapter = &results.trainings["r8/adapter-s1"];
    let settings = results.settings(adapter);
    assert_eq!(
        (&settings["method"], &settings["steps"]),
        (&"parallel-adapter".into(), &600.into())
    );
}

#[test]
fn a_damaged_line_is_named() {
    let error = |trainings: &str| format!("{:#}", records(trainings).1.unwrap_err());
    let cut = TRAININGS.replacen(r#""seconds":120.0"#, r#""seconds":,"#, 1);
    let found = error(&cut);
    assert!(found.contains("trainings.jsonl: expected value at line 3 column"), "{found}");
    let twice = TRAININGS.replacen("random-s1", "coda-s1", 1);
    let found = error(&twice);
    assert!(found.contains("trainings.jsonl: r8/coda-s1 is there twice"), "{found}");
    let nameless = TRAININGS.replacen("r8/coda-s1", "r8/coda", 1);
    let results = records(&nameless).1.unwrap();
    assert!(report(&results).unwrap_err().to_string().contains("r8/coda"));
}
