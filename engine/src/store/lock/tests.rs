//! Runs that share a store, and those that need it alone.

use super::*;
use crate::pipeline::fingerprint::{Fingerprint, Ingredient, IngredientKind, Ledger};

fn new_store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    (folder, store)
}

fn fingerprint(letter: char) -> Fingerprint {
    let (what, name, value) = (IngredientKind::Field, "steps".to_owned(), letter.to_string());
    Ledger(vec![Ingredient { what, name, value, label: None }]).fingerprint()
}

#[test]
fn the_second_learns_who_has_the_store_alone() {
    let (_folder, store) = new_store();
    let first = store.lock().unwrap();
    for error in [store.lock().unwrap_err(), store.lock_shared().unwrap_err()] {
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().contains("is in use by"), "{error}");
    }
    assert!(find_lock_holders(&store).unwrap().iter().all(|holder| holder.lives));
    drop(first);
    assert_eq!(find_lock_holders(&store).unwrap(), []);
    store.lock().unwrap();
}

#[test]
fn runs_share_a_store_and_nobody_has_it_alone_meanwhile() {
    let (_folder, store) = new_store();
    let first = store.lock_shared().unwrap();
    assert_eq!(first.note, None);
    let second = store.lock_shared().unwrap();
    assert_eq!(find_live_holders(&store).unwrap().len(), 2);
    assert_eq!(store.lock().unwrap_err().exit_code(), 5);
    drop(first);
    assert_eq!(store.lock().unwrap_err().exit_code(), 5);
    drop(second);
    store.lock().unwrap();
}

/// What one run has under construction is no leftover for the next.
#[test]
fn a_run_sweeps_only_while_it_is_alone() {
    let (_folder, store) = new_store();
    let first = store.lock_shared().unwrap();
    let place = store.root().join("tmp/under-construction");
    std::fs::write(&place, "").unwrap();
    drop(store.lock_shared().unwrap());
    assert!(place.exists());
    drop(first);
    drop(store.lock_shared().unwrap());
    assert!(!place.exists());
}

#[test]
fn a_stage_has_one_maker() {
    let (_folder, store) = new_store();
    let (one, two) = (store.lock_shared().unwrap(), store.lock_shared().unwrap());
    let (a, b) = (fingerprint('a'), fingerprint('b'));
    let made = store.lock_stage(&one, "rows", &a).unwrap();
    let error = store.lock_stage(&two, "lines", &a).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.to_string().ends_with("makes `lines` now"), "{error}");
    assert!(store.find_maker(&a).unwrap().is_some_and(|words| words.starts_with("process ")));
    store.lock_stage(&two, "other", &b).unwrap();
    store.lock_window(&two, "rows", &a).unwrap();
    assert_eq!(store.find_maker(&b).unwrap(), None);
    drop(made);
    assert_eq!(store.find_maker(&a).unwrap(), None);
    store.lock_stage(&two, "lines", &a).unwrap();
}

#[test]
fn a_copy_of_the_open_file_does_not_keep_the_lock() {
    let (_folder, store) = new_store();
    let first = store.lock().unwrap();
    let _child = first.file.try_clone().unwrap();
    drop(first);
    store.lock().unwrap();
}

#[test]
fn without_locks_a_holder_that_cannot_be_named_gets_no_store() {
    let (folder, store) = new_store();
    let mut lock = store.lock().unwrap();
    std::fs::remove_dir_all(folder.path().join("locks")).unwrap();
    lock.claim(&store).unwrap();
    lock.has_locks = false;
    let error = lock.claim(&store).unwrap_err();
    assert!(error.to_string().starts_with("cannot write "), "{error}");
}

#[test]
fn names_of_the_dead_go_with_the_next_who_is_alone() {
    let (folder, store) = new_store();
    drop(store.lock().unwrap());
    let name = folder.path().join("locks/run.2147483646.0");
    let words = holders::describe_process();
    let words = words.replace(crate::store::layout::find_process_token(), "another");
    let dead = words.replacen(&std::process::id().to_string(), "2147483646", 1);
    std::fs::write(&name, dead).unwrap();
    assert_eq!(find_lock_holders(&store).unwrap().len(), 1);
    assert_eq!(find_live_holders(&store).unwrap(), []);
    drop(store.lock_shared().unwrap());
    assert!(!name.exists());
}

#[test]
fn stages_in_work_are_those_whose_locks_are_held() {
    let (_folder, store) = new_store();
    let lock = store.lock_shared().unwrap();
    assert!(store.list_stages_in_work().unwrap().is_empty());
    let made = store.lock_stage(&lock, "rows", &fingerprint('a')).unwrap();
    let _window = store.lock_window(&lock, "rows", &fingerprint('b')).unwrap();
    drop(store.lock_stage(&lock, "other", &fingerprint('c')).unwrap());
    let found = store.list_stages_in_work().unwrap();
    assert_eq!(found.iter().collect::<Vec<_>>(), [fingerprint('a').short()]);
    drop(made);
    assert!(store.list_stages_in_work().unwrap().is_empty());
}
