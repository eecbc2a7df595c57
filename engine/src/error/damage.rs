//! What to do about a damaged file.

use std::path::Path;

use crate::text::escape::show_path;

/// How to go on without the undamaged text of a file. Help must never suggest removing a folder that is not of a store.
pub(super) fn explain_damage(folder: &Path, file: &str) -> String {
    let path = show_path(folder.join(file));
    if is_in_store(folder, |within| matches!(within, "artifacts" | "checkpoints")) {
        return format!("remove {} and run again: the run recreates it", show_path(folder));
    }
    if folder.parent().is_some_and(|stage| is_in_store(stage, |within| within == "permanent")) {
        return format!("remove {}: a run continues from an older checkpoint", show_path(folder));
    }
    if folder.is_absolute() && folder.ends_with("runs") {
        return match file.ends_with(".jsonl") {
            true => format!("remove that line of {path}: only this part of the history is lost"),
            false => format!(
                "remove {path}: only this part of the history is lost, and `fmflow run FILE` continues without it"
            ),
        };
    }
    match file {
        "format" => format!("if this folder is a store, replace {path} by the one of a new store"),
        "pins" => format!("write {path} anew: the names of the artifacts to keep, one per line"),
        _ => "do not use this folder; restore it from a copy, or make it again".into(),
    }
}

/// Whether the folder that an absolute path lies in has a name of the store.
fn is_in_store(folder: &Path, is_name: impl Fn(&str) -> bool) -> bool {
    let within = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    folder.is_absolute() && within.is_some_and(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_never_suggests_removing_a_folder_outside_a_store() {
        let help = |folder: &str| explain_damage(Path::new(folder), "manifest.json");
        assert!(help("/p/.fmflow/artifacts/ar-0123").starts_with("remove /p/.fmflow/artifacts/ar-0123 "));
        let permanent = help("/p/.fmflow/permanent/ar-0123/00000020");
        assert!(permanent.starts_with("remove /p/.fmflow/permanent/ar-0123/00000020:"), "{permanent}");
        assert!(["/home/me", ".", "/"].iter().all(|folder| !help(folder).contains("remove")));
        assert_eq!(
            explain_damage(Path::new("/p/.fmflow"), "pins"),
            "write /p/.fmflow/pins anew: the names of the artifacts to keep, one per line"
        );
    }
}
