//! The house: no two files import each other, and no lower room imports a higher one.
//!
//! Read from the sources' `use` lines and paths, as text. What a `mod.rs` hands on is followed to the
//! file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The rooms of the library, from the ground up: a room imports those above it in this list alone.
const FLOORS: &[&[&str]] = &[
    &["gpu_failure", "matrix", "parallel", "pieces", "printable", "quotient", "random", "sorting"],
    &["error"],
    &["numerics"],
    &["simd"],
    &["gemm"],
    &["element"],
    &["reading", "writing", "product"],
    &["softmax", "classical", "preference", "fit", "coupling", "rates"],
    &["loss"],
    &["binary", "contrastive", "information"],
    &["values", "autodiff", "algebra", "io"],
    &["spectrum", "diffusion"],
    &["watch", "gpu"],
];

/// The file that a name of a module is handed on from.
type HandedOn = BTreeMap<(String, String), String>;

struct Sources {
    /// The text of each module, by its path: `gemm::pack`, and the empty path for the root.
    modules: BTreeMap<String, String>,
    handed_on: HandedOn,
}

impl Sources {
    fn read(folder: &Path, root: &str) -> Self {
        let mut modules = BTreeMap::new();
        collect(folder, "", root, &mut modules);
        let mut sources = Self { modules, handed_on: BTreeMap::new() };
        let mut handed_on = BTreeMap::new();
        for (module, text) in &sources.modules {
            for path in used(text, true) {
                let Some((from, name)) = path.rsplit_once("::") else { continue };
                if let Some(from) = sources.child(module, from) {
                    handed_on.insert((module.clone(), name.to_string()), from);
                }
            }
        }
        sources.handed_on = handed_on;
        sources
    }

    /// The module below or at `module` that a path names, where it is one of its own.
    fn child(&self, module: &str, path: &str) -> Option<String> {
        let path = path.strip_prefix("self::").unwrap_or(path);
        let child = join(module, path);
        self.modules.contains_key(&child).then_some(child)
    }

    /// The module that defines what a path names.
    fn definition(&self, module: &str, path: &str) -> Option<String> {
        let mut at = match path.split("::").next()? {
            "crate" => String::new(),
            "super" | "self" => module.to_string(),
            // A module of this one's own.
            first if self.modules.contains_key(&join(module, first)) => module.to_string(),
            _ => return None,
        };
        let mut segments = path.split("::").peekable();
        while let Some(&segment) = segments.peek() {
            match segment {
                "crate" | "self" => {}
                "super" => at = at.rsplit_once("::").map_or("", |(parent, _)| parent).to_string(),
                _ => break,
            }
            segments.next();
        }
        for segment in segments {
            let below = join(&at, segment);
            if self.modules.contains_key(&below) {
                at = below;
                continue;
            }
            while let Some(from) = self.handed_on.get(&(at.clone(), segment.to_string())) {
                at = from.clone();
            }
            break;
        }
        Some(at)
    }

    /// What each module takes from others.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<String>> {
        let of = |(module, text): (&'_ String, &String)| {
            let paths = used(text, false).into_iter().chain(inline(text));
            let from = paths.filter_map(|path| self.definition(module, &path));
            from.filter(|from| from != module).collect()
        };
        self.modules.iter().map(|(module, text)| (module.as_str(), of((module, text)))).collect()
    }
}

fn join(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_string() } else { format!("{module}::{name}") }
}

fn collect(folder: &Path, module: &str, root: &str, to: &mut BTreeMap<String, String>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
        if path.is_dir() {
            collect(&path, &join(module, &stem), "mod", to);
        } else if path.extension().is_some_and(|e| e == "rs") && stem != "tests" {
            let name = if stem == root { module.to_string() } else { join(module, &stem) };
            to.insert(name, without_tests(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The text before its unit tests, without comments.
fn without_tests(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let code = |line: &str| match line.trim_start().starts_with("//") {
        true => String::new(),
        false => line.split(" // ").next().unwrap_or_default().to_string() + "\n",
    };
    text.lines().map(code).collect()
}

/// The paths of the `use` lines: those that hand on (`pub use`), or the others.
fn used(text: &str, handing_on: bool) -> Vec<String> {
    let mut paths = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("use ") {
        let before = rest[..at].rsplit('\n').next().unwrap_or_default().trim();
        let (line, tail) = rest[at + 4..].split_once(';').unwrap_or((&rest[at + 4..], ""));
        let is_use = before.is_empty() || before.starts_with("pub");
        if is_use && before.starts_with("pub") == handing_on {
            spread(&line.split_whitespace().collect::<Vec<_>>().join(" "), "", &mut paths);
        }
        rest = if is_use { tail } else { &rest[at + 4..] };
    }
    paths
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn spread(tree: &str, before: &str, to: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        if !name.is_empty() {
            to.push(format!("{before}{name}").trim_end_matches("::self").to_string());
        }
        return;
    };
    let before = format!("{before}{}", &tree[..open]);
    let (mut depth, mut start) = (0, open + 1);
    for (at, letter) in tree.char_indices().skip(open) {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return spread(&tree[start..at], &before, to),
            '}' => depth -= 1,
            ',' if depth == 1 => {
                spread(&tree[start..at], &before, to);
                start = at + 1;
            }
            _ => {}
        }
    }
}

/// Paths that begin with `crate::` or `super::` in the code itself.
fn inline(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for line in text.lines().filter(|line| !line.contains("use ")) {
        for start in ["crate::", "super::"] {
            for (at, _) in line.match_indices(start) {
                let whole = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
                if line[..at].ends_with(whole) {
                    continue;
                }
                let path: String = line[at..].chars().take_while(|&c| whole(c)).collect();
                paths.push(path.trim_end_matches(':').to_string());
            }
        }
    }
    paths
}

/// A chain of modules from one back to itself, where there is one.
fn circle(imports: &BTreeMap<&str, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        imports: &BTreeMap<&str, BTreeSet<String>>,
        done: &mut BTreeSet<String>,
        path: &mut Vec<String>,
    ) -> bool {
        if let Some(start) = path.iter().position(|known| known == at) {
            path.drain(..start);
            path.push(at.to_string());
            return true;
        }
        if !done.insert(at.to_string()) {
            return false;
        }
        path.push(at.to_string());
        if imports[at].iter().any(|next| visit(next, imports, done, path)) {
            return true;
        }
        path.pop();
        false
    }
    let (mut done, mut path) = (BTreeSet::new(), Vec::new());
    imports.keys().any(|at| visit(at, imports, &mut done, &mut path)).then_some(path)
}

fn library() -> Sources {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "lib")
}

#[test]
fn no_two_files_of_the_library_import_each_other() {
    assert_eq!(circle(&library().imports()), None);
}

#[test]
fn no_two_files_of_the_program_import_each_other() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/src");
    assert_eq!(circle(&Sources::read(&folder, "main").imports()), None);
}

#[test]
fn no_lower_room_imports_a_higher_one() {
    let room = |module: &str| module.split("::").next().unwrap_or_default().to_string();
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let sources = library();
    let mut wrong = Vec::new();
    for (module, from) in sources.imports() {
        // The root hands all on.
        let Some(own) = floor(&room(module)) else {
            assert!(module.is_empty(), "{module} is in no room of the list");
            continue;
        };
        for from in from {
            let same = room(module) == room(&from);
            if !same && floor(&room(&from)).is_some_and(|other| other >= own) {
                wrong.push(format!("{module} imports {from}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_reader_of_the_sources_sees_what_is_there() {
    let text =
        "use a::{b, c::{d, self}};\npub(crate) use x::y as z;\nlet f = crate::m::n(super::o);";
    assert_eq!(used(text, false), ["a::b", "a::c::d", "a::c"]);
    assert_eq!(used(text, true), ["x::y"]);
    assert_eq!(inline(text), ["crate::m::n", "super::o"]);
    let sources = library();
    assert!(sources.imports()["watch"].len() > 3);
    let both = BTreeMap::from([
        ("a", BTreeSet::from(["b".to_string()])),
        ("b", BTreeSet::from(["c".to_string()])),
        ("c", BTreeSet::from(["b".to_string()])),
    ]);
    assert_eq!(circle(&both), Some(["b", "c", "b"].map(String::from).to_vec()));
}
