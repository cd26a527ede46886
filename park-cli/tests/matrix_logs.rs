//! `park matrix --log` and `--against`: what machines reported beside the claims, and what is wrong with a file of it.

mod schema;

use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder of its own for a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("park-matrix-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn park(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_park"));
        let output = command.current_dir(&self.0).arg("matrix").args(arguments).output().expect("park runs");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// The document of a matrix with these files, whose exit code must be `code`.
    fn document(&self, files: &[(&str, String)], code: i32) -> Value {
        let mut arguments = vec!["--json"];
        for (name, text) in files {
            fs::write(self.0.join(name), text).expect("a file");
            arguments.extend(["--log", name]);
        }
        let (found, text, errors) = self.park(&arguments);
        assert_eq!(found, Some(code), "{errors}");
        let document = serde_json::from_str(&text).expect("one document");
        assert_eq!(schema::check(&document, "matrix with logs"), "matrix");
        document
    }

    /// What is said of a bad file.
    fn refused(&self, text: &str) -> String {
        fs::write(self.0.join("log"), text).expect("a file");
        let (code, out, errors) = self.park(&["--json", "--log", "log"]);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{errors}");
        errors.strip_prefix("park: ").unwrap_or(&errors).trim_end().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder for temporary files: what stays there harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn boot(vendor: &str) -> String {
    format!(
        "{{\"event\":\"boot\",\"via\":\"multiboot2\",\"vendor\":\"{vendor}\",\"family\":\"0x17\",\"model\":\"0x31\",\
         \"stepping\":\"0x0\",\"hypervisor\":false}}\n"
    )
}

fn verdict(case: &str, response: &str) -> String {
    format!(
        "{{\"event\":\"case\",\"case\":\"{case}\"}}\n{{\"event\":\"verdict\",\"case\":\"{case}\",\"fired\":3,\"witnessed\":3,\
         \"coalesced\":\"none\",\"response\":\"{response}\",\"confirmed\":\"answered\",\"entries\":1,\"waiting\":\"still\"}}\n"
    )
}

fn lacks(case: &str) -> String {
    format!(
        "{{\"event\":\"case\",\"case\":\"{case}\"}}\n\
         {{\"event\":\"lacks\",\"case\":\"{case}\",\"kind\":\"no-source\",\"why\":\"nobody makes it happen\"}}\n"
    )
}

/// The cell of AMD's table.
fn cell<'d>(document: &'d Value, mechanism: &str, event: &str) -> &'d Value {
    let vendors = document["vendors"].as_array().expect("vendors");
    let amd = vendors.iter().find(|vendor| vendor["vendor"] == "amd").expect("AMD's");
    let cells = amd["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["mechanism"] == mechanism && cell["event"] == event).expect("a cell")
}

const MACHINE: &str = "AMD 17h/31h/0";

#[test]
fn a_serial_log_is_a_column_named_by_its_machine() {
    let folder = Folder::new("serial");
    let log = format!(
        "\u{1b}[2JGRUB\r\n{}{}{}{}{}{{\"event\":\"case\",\"case\":\"wait-for-sipi/init\"}}\nfirm\u{0}ware\n{}{}",
        boot("AMD"),
        verdict("hlt/nmi", "laps"),
        verdict("clgi/init", "held"),
        lacks("hlt/mc-local"),
        verdict("hlt/smi", "transparent"),
        boot("AMD"),
        "{\"event\":\"verd",
    );
    let document = folder.document(&[("epyc.log", log)], 0);
    let rig = &document["rigs"][1];
    assert_eq!((&rig["name"], &rig["evidence"]), (&MACHINE.into(), &"silicon".into()));
    let nmi = cell(&document, "hlt", "nmi");
    let by_machine = |cell: &Value| {
        let measured = cell["measured"].as_array().expect("measured").iter();
        measured.filter(|one| one["rig"] == MACHINE).map(|one| one["verdict"].clone()).collect::<Vec<_>>()
    };
    assert_eq!((&nmi["status"], by_machine(nmi)), (&"confirmed".into(), vec!["laps".into()]));
    assert_eq!(by_machine(cell(&document, "hlt", "smi")), ["transparent"]);
    let lacking = &cell(&document, "hlt", "mc-local")["not_shown"][0];
    assert_eq!((&lacking["rig"], &lacking["lack"]), (&MACHINE.into(), &"no-source".into()));
    // The machine started again in this case: no verdict, whoever pressed the button.
    let lost = cell(&document, "wait-for-sipi", "init");
    assert_eq!((&lost["not_shown"][0]["lack"], &lost["status"]), (&"no-verdict".into(), &"unconfirmed".into()));
}

#[test]
fn a_machine_that_contradicts_a_claim_ends_with_exit_1_and_is_named() {
    let folder = Folder::new("contradiction");
    // No list forgives a machine what it forgives an emulator.
    let log = format!("{}{}", boot("Hygon").replace("false", "true"), verdict("hlt/smi", "laps"));
    let document = folder.document(&[("log", log)], 1);
    assert_eq!((&document["agrees"], &document["rigs"][1]["evidence"]), (&false.into(), &"emulator".into()));
    let smi = cell(&document, "hlt", "smi");
    assert_eq!(smi["status"], "contradicted");
    let told = smi["disagreements"][0].as_str().expect("a sentence");
    assert!(told.contains("Hygon 17h/31h/0, hypervisor") && told.contains("hlt/smi: laps"), "{told}");
}

/// A document of a lab with one conformance trial on each of these machines.
fn lab(version: &str, machines: &[(&str, &str, &str)]) -> String {
    let trial = |(name, case, response): &(&str, &str, &str)| {
        let seen = r#"{"fired":3,"witnessed":3,"coalesced":null,"confirmed":"answered","entries":1,"waiting":"still","runs":1}"#;
        format!(
            r#"{{"name":"{name}/conformance","rig":"x","version":"{version}","cases":[
            {{"case":"{case}","standing":"claimed","response":"{response}","seen":{seen},"lack":null,"why":null}}]}}"#
        )
    };
    let trials: Vec<String> = machines.iter().map(trial).collect();
    format!("{{\"schema\":\"park.lab/1\",\"trials\":[\n{}\n]}}", trials.join(",\n"))
}

#[test]
fn a_lab_is_a_column_for_each_emulator_with_deviations_named() {
    let folder = Folder::new("lab");
    let machines = [
        ("qemu-epyc", "hlt/smi", "laps"),
        ("bochs-ryzen-2", "hlt/nmi", "laps"),
        ("bochs-haswell-2", "hlt/nmi", "laps"),
        ("sim-amd", "hlt/nmi", "laps"),
    ];
    let document = folder.document(&[("lab.json", lab("7.2", &machines))], 0);
    let names: Vec<&str> =
        document["rigs"].as_array().expect("rigs").iter().filter_map(|rig| rig["name"].as_str()).collect();
    assert_eq!(names, ["simulator", "qemu", "bochs"]);
    assert_eq!(document["rigs"][2]["machines"][1]["name"], "bochs-haswell-2");
    let smi = cell(&document, "hlt", "smi");
    let by_qemu = smi["measured"].as_array().and_then(|all| all.iter().find(|one| one["rig"] == "qemu")).expect("one");
    assert_eq!((&by_qemu["agrees"], &smi["status"]), (&false.into(), &"unconfirmed".into()));
    assert!(by_qemu["deviation"].as_str().is_some_and(|why| why.contains("RSM")), "{by_qemu}");
    assert_eq!(cell(&document, "hlt", "nmi")["status"], "confirmed");
    // What no list has is a contradiction, whatever the document says of it.
    let wrong = lab("7.2", &[("qemu-epyc", "hlt/nmi", "held")]);
    let document = folder.document(&[("lab.json", wrong)], 1);
    assert_eq!(cell(&document, "hlt", "nmi")["status"], "contradicted");
}

#[test]
fn every_bad_file_is_refused_with_its_name_and_line() {
    let folder = Folder::new("bad");
    let boot = boot("AMD");
    let nmi = verdict("hlt/nmi", "laps");
    for (text, told) in [
        (String::new(), "log: no line is the image's `boot`"),
        ("\u{0}\u{1}garbage\n{}\n[]\n".to_owned(), "log: no line is the image's `boot`"),
        (boot.clone(), "log: no case of the test `conformance`"),
        (nmi.clone(), "log: no line is the image's `boot`"),
        (format!("{boot}{{\"event\":\"verdict\",\"ca\n{nmi}"), "log:2: a report of the image that is cut off"),
        (format!("{boot}{}", nmi.replace("laps", "dances")), "log:3: not a verdict: a response `dances`"),
        (format!("{boot}{}", nmi.replace("\"fired\":3,", "")), "log:3: not a verdict"),
        (format!("{boot}{}", nmi.replace("hlt/nmi", "hlt/tea")), "log:2: `hlt/tea` is no case"),
        (boot.clone() + &lacks("hlt/smi").replace("no-source", "no-idea"), "log:3: `no-idea` is no kind of lack"),
        (boot.replace("AMD", "Transmeta") + &nmi, "log:1: nothing is claimed of CPUs by `Transmeta`"),
        (boot.replace("0x17", "17") + &nmi, "log:1: `boot` does not say vendor, family and model"),
        (
            format!("{boot}{nmi}{}", boot.replace("0x31", "0x1")),
            "log:4: another machine (AMD 17h/1h/0, and before AMD 17h/31h/0)",
        ),
        (
            boot.replace("AMD", "Intel") + &verdict("clgi/nmi", "held"),
            "log:3: clgi/nmi was measured, and nothing is claimed",
        ),
        ("{\"schema\":\"park.sim/1\"}".to_owned(), "log: a document of schema `park.sim/1`"),
        ("{\"schema\":7}".to_owned(), "log: a document of schema ``"),
        ("{\"schema\":\"park.lab/1\",\n\"trials\":[}".to_owned(), "log:2: not a document of schema park.lab/1"),
        (
            "{\"schema\":\"park.lab/1\",\n\"trials\":[{}]}".to_owned(),
            "log:2: not a document of schema park.lab/1: missing field",
        ),
        ("{\"schema\":\"park.lab/1\",\"trials\":[]}".to_owned(), "log: no case of the test `conformance`"),
        (lab("1", &[("vax", "hlt/nmi", "laps")]), "`vax` is no machine of this version's lab"),
        (lab("1", &[("qemu-epyc", "hlt/tea", "laps")]), "`hlt/tea` is no case"),
        (lab("1", &[("qemu-epyc", "hlt/nmi", "dances")]), "`dances` is no response"),
        (lab("1", &[("qemu-epyc", "hlt/nmi", "laps")]).replace("answered", "perhaps"), "`perhaps` is no word"),
        (lab("1", &[("qemu-intel", "clgi/nmi", "held")]), "clgi/nmi was measured, and nothing is claimed"),
    ] {
        let refused = folder.refused(&text);
        assert!(refused.contains(told), "{told}\n{refused}");
    }
    let (code, _, errors) = folder.park(&["--log", "nowhere.log"]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("nowhere.log: can't be opened"), "{errors}");
}

/// Every prefix, and every byte replaced: refused or read, never a panic.
#[test]
fn no_damage_to_a_file_is_a_panic() {
    let folder = Folder::new("damage");
    let log = format!("{}{}{}", boot("AMD"), verdict("hlt/nmi", "laps"), lacks("hlt/smi"));
    for whole in [log, lab("1", &[("qemu-epyc", "hlt/nmi", "laps")])] {
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] = 0xff;
            for damaged in [&whole.as_bytes()[..at], &bytes] {
                let path = folder.0.join("log");
                fs::write(&path, damaged).expect("a file");
                let _ = park_cli::matrix::log::read(&path);
            }
        }
    }
}

#[test]
fn a_fresh_matrix_is_held_against_one_that_was_kept() {
    let folder = Folder::new("against");
    let machines = [("qemu-epyc", "hlt/nmi", "laps"), ("bochs-ryzen-2", "hlt/nmi", "laps")];
    let kept = folder.document(&[("lab.json", lab("7.2", &machines))], 0);
    fs::write(folder.0.join("matrix.json"), kept.to_string()).expect("a file");
    let (code, _, errors) = folder.park(&["--log", "lab.json", "--html", "matrix.html"]);
    assert_eq!(code, Some(0), "{errors}");
    let against = |name: &str, text: String| {
        fs::write(folder.0.join(name), text).expect("a file");
        let (code, out, errors) = folder.park(&["--log", name, "--against", "."]);
        assert_eq!(errors, "");
        (code, out)
    };
    let (code, out) = against("same.json", lab("7.2", &machines));
    assert_eq!((code, out.as_str()), (Some(0), "./matrix.json and matrix.html: nothing differs\n"));
    // Another version is told, and is no difference.
    let (code, out) = against("version.json", lab("9.9", &machines));
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("qemu is version 9.9, and was 7.2") && out.contains("nothing differs"), "{out}");
    let (code, out) =
        against("verdict.json", lab("9.9", &[("qemu-epyc", "hlt/nmi", "laps"), ("bochs-ryzen-2", "clgi/nmi", "held")]));
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("amd hlt/nmi, bochs: nothing, and was laps (bochs-ryzen-2)"), "{out}");
    assert!(out.contains("amd clgi/nmi, bochs: held (bochs-ryzen-2), and was nothing"), "{out}");
    assert!(out.contains("2 differences"), "{out}");
    let (code, out) = against("less.json", lab("7.2", &machines[..1]));
    assert_eq!(code, Some(1), "{out}");
    // A page that somebody has changed.
    let page = fs::read_to_string(folder.0.join("matrix.html")).expect("the page");
    fs::write(folder.0.join("matrix.html"), page.replace("confirmed", "certain")).expect("a file");
    let (code, out) = against("same.json", lab("7.2", &machines));
    assert!(code == Some(1) && out.contains("is not the page of matrix.json"), "{out}");
    fs::write(folder.0.join("matrix.json"), "{\"schema\":\"park.lab/1\"}").expect("a file");
    let (code, _, errors) = folder.park(&["--log", "same.json", "--against", "."]);
    assert!(code == Some(2) && errors.contains("matrix.json: is not a document of schema park.matrix/1"), "{errors}");
}
