//! Files: only the interpreter can be read and executed, and nothing can be written.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

use super::SandboxPlan;
use super::refusal::Refusal;

/// Restricts this process. The rights of files up to version 3 of Landlock (Linux 6.2) are a requirement; what newer kernels add is a
/// second fence where seccomp has the first.
pub(super) fn restrict_files(plan: &SandboxPlan) -> Result<(), Refusal> {
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V3))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    let rules = allow_paths(rules, &plan.execute, AccessFs::Execute | AccessFs::ReadFile)?;
    let rules = allow_paths(rules, &plan.read, AccessFs::ReadDir | AccessFs::ReadFile)?;
    match rules.restrict_self()?.ruleset {
        RulesetStatus::NotEnforced => Err(Refusal::sandbox("Landlock", "this kernel does not enforce it")),
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
    }
}

fn allow_paths(
    mut rules: RulesetCreated,
    paths: &[PathBuf],
    rights: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Refusal> {
    for path in paths {
        let folder = std::fs::metadata(path).map_err(|error| Refusal::interpreter(path, &error))?.is_dir();
        let rights = if folder { rights } else { rights & !BitFlags::from(AccessFs::ReadDir) };
        let place = PathFd::new(path).map_err(|error| Refusal::interpreter(path, &error))?;
        rules = rules.add_rule(PathBeneath::new(place, rights))?;
    }
    Ok(rules)
}
