//! The closed list of diagnostic codes. Each has a page in `schemas/codes.md` and a case in `tests/cases/check/`.

use super::Severity;

macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $title:literal)*) => {
        /// Kinds of problems, each with a stable name in kebab case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the phases of `check` that report them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Names of the warnings, which are the codes that `lint { ... }` can allow or deny.
            pub(crate) fn warnings() -> impl Iterator<Item = &'static str> + Clone {
                let warnings = Self::ALL.iter().filter(|code| code.severity() == Severity::Warning);
                warnings.map(|code| code.name())
            }

            /// The stable name, as printed in brackets.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The severity, unless the configuration changes it.
            #[must_use]
            pub(crate) fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// Whether the configuration gives no pipeline. Faulty lines of data stop only runs.
            #[must_use]
            pub(crate) fn leaves_no_pipeline(self) -> bool {
                self != Self::FaultyLines
            }

            /// What the code means, in a few words.
            #[must_use]
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    UnreadableFile "unreadable-file" Error "the configuration cannot be read"
    FileTooLarge "file-too-large" Error "the configuration or one of its nodes is too large"
    NotUtf8 "not-utf8" Error "the configuration is not UTF-8 text"
    NestedTooDeep "nested-too-deep" Error "braces, comments or mixtures are nested too deeply"
    Syntax "syntax" Error "the text is not valid KDL"
    KeywordWithoutHash "keyword-without-hash" Error "`true`, `false`, `null`, `inf` or `nan` without its `#`"
    UrlTrap "url-trap" Error "an unquoted URL became a comment"
    TrailingColon "trailing-colon" Error "a colon after the name of a node or property"
    TypeAnnotation "type-annotation" Error "a type annotation, which this language does not use"
    NoPipeline "no-pipeline" Error "there is no `pipeline` node"
    NoStages "no-stages" Error "the pipeline has no stages"
    UnknownNode "unknown-node" Error "a node that does not exist, or is not allowed here"
    UnknownField "unknown-field" Error "a field that the node does not have"
    MissingNode "missing-node" Error "a required node is missing"
    MissingField "missing-field" Error "a required field is missing"
    DuplicateNode "duplicate-node" Error "a node that is allowed only once appears twice"
    DuplicateField "duplicate-field" Error "a field is written twice"
    ConflictingFields "conflicting-fields" Error "two fields exclude each other"
    FieldDoesNotApply "field-does-not-apply" Error "a field that has no effect next to another field's value"
    WrongType "wrong-type" Error "a value of the wrong type"
    UnknownWord "unknown-word" Error "a word that the field does not accept"
    OutOfRange "out-of-range" Error "a value outside the field's range"
    InvalidName "invalid-name" Error "a name that cannot be used for a folder"
    DuplicateName "duplicate-name" Error "a name is declared twice"
    UnknownName "unknown-name" Error "a name that is not declared"
    WrongKind "wrong-kind" Error "a name that refers to the wrong kind of node"
    IncludeCycle "include-cycle" Error "files that include each other"
    MixtureCycle "mixture-cycle" Error "mixtures that contain each other"
    EmptyMixture "empty-mixture" Error "a mixture with nothing to read"
    Cycle "cycle" Error "stages that depend on each other in a cycle"
    NoFiles "no-files" Error "a dataset, folder or file that does not exist"
    ForbiddenFolder "forbidden-folder" Error "a dataset in a hidden folder or in `target/`"
    NoColumn "no-column" Error "a field that the data files do not have"
    UnfitData "unfit-data" Error "a data file that does not match its format"
    FaultyLines "faulty-lines" Error "lines of data that cannot be read"
    NoRows "no-rows" Error "no rows are made from the dataset"
    AmbiguousRows "ambiguous-rows" Error "several kinds of rows are made from the dataset"
    WarmupOverSteps "warmup-over-steps" Error "a schedule that is longer than the training"
    FinalOverPeak "final-over-peak" Error "the learning rate ends above its peak"
    NoDecayUnmatched "no-decay-unmatched" Error "a word of `no-decay` that matches no parameter"
    BatchNotDivisible "batch-not-divisible" Error "the micro-batch size does not divide the batch size"
    BlockNotDividingRows "block-not-dividing-rows" Warning "a block size that does not divide the row length"
    HeadsNotDivisible "heads-not-divisible" Error "head counts or sizes that do not fit together"
    RowOverContext "row-over-context" Error "rows are longer than the model's context"
    NothingHeldOut "nothing-held-out" Error "a dataset is evaluated but holds nothing out"
    NoChatData "no-chat-data" Error "a dataset without `chat` where answers are needed"
    NoChatTemplate "no-chat-template" Error "conversations for a tokenizer that cannot lay them out"
    NoCanvas "no-canvas" Error "nothing says how long an answer may be"
    MaskTokenTaken "mask-token-taken" Error "the mask token's row belongs to another token"
    MaskOutsideVocabulary "mask-outside-vocabulary" Error "the embedding has no row for the mask token"
    NotConverted "not-converted" Error "a flow objective or sampler on an autoregressive checkpoint"
    InvalidContract "invalid-contract" Error "a checkpoint whose contract cannot be read"
    UnfitCheckpoint "unfit-checkpoint" Error "a checkpoint folder that cannot be used"
    AlreadyConverted "already-converted" Error "a checkpoint is converted twice"
    AttentionMismatch "attention-mismatch" Error "attention that lets the model see its target"
    StrideMismatch "stride-mismatch" Error "strides or a clean loss that nothing else fits"
    GrowthMismatch "growth-mismatch" Error "text that grows where objective, attention, checkpoint or sampler does not allow it"
    AdapterMismatch "adapter-mismatch" Error "an adapter that does not fit the model, its base or its use"
    TeacherMismatch "teacher-mismatch" Error "a teacher whose law of the next token is missing or contradicts the model"
    StrideBeyondTraining "stride-beyond-training" Warning "a sampler that drafts more tokens than the checkpoint learned to"
    StrideBeyondAnswers "stride-beyond-answers" Warning "a stride that is longer than some answers"
    DeviceMismatch "device-mismatch" Error "a number format that the device of `machine` cannot compute"
    BlockMismatch "block-mismatch" Error "block sizes of sampler, training or rows that do not fit together"
    CacheMismatch "cache-mismatch" Error "a key-value cache that does not suit the checkpoint's attention"
    BadConstraint "bad-constraint" Error "a constraint that cannot be read or kept"
    LossMismatch "loss-mismatch" Error "a loss that is not defined for the probability path"
    UniformWithoutTime "uniform-without-time" Error "a uniform source without time conditioning"
    PathMismatch "path-mismatch" Error "a stage uses a different probability path than its checkpoint"
    SamplerMismatch "sampler-mismatch" Error "a sampler that does not work with the checkpoint's noise"
    ShiftMismatch "shift-mismatch" Error "left-to-right use of a checkpoint that predicts in place"
    TokenizerMismatch "tokenizer-mismatch" Error "rows and model have different tokenizers"
    NotKept "not-kept" Error "a start from a checkpoint that is not kept"
    RequireNotMeasured "require-not-measured" Error "a score is required of a checkpoint that is not evaluated"
    LockInvalid "lock-invalid" Error "the lock file cannot be read"
    RepositoryNotFound "repository-not-found" Error "a repository that the hub cannot find"
    RevisionNotFound "revision-not-found" Error "a branch, tag or commit that the repository does not have"
    AccessDenied "access-denied" Error "a repository that the hub does not give access to"
    UnknownSubset "unknown-subset" Error "a subset that the dataset does not have"
    UnknownColumn "unknown-column" Error "a column that the dataset does not have"
    HubUnreachable "hub-unreachable" Error "the hub did not give a usable answer"
    UnreadSetting "unread-setting" Warning "a setting of a checkpoint that nothing reads"
    TiedHead "tied-head" Warning "a head in the files of a model whose head is its embedding"
    AutoregressiveOnFlow "autoregressive-on-flow" Warning "autoregressive training or sampling of a flow checkpoint"
    CausalFlow "causal-flow" Warning "a flow that sees only earlier positions"
    UncappedWeight "uncapped-weight" Warning "positions near t = 1 outweigh all others"
    DecayedNorms "decayed-norms" Warning "weight decay on norm weights"
    UnusualLearningRate "unusual-learning-rate" Warning "a peak learning rate far from those of published runs"
    RepeatedData "repeated-data" Warning "a dataset that is read too often"
    NoEndOfDocument "no-end-of-document" Warning "documents without an end-of-document token"
    UnreadField "unread-field" Warning "a field with content that no setting reads"
    OddTurns "odd-turns" Warning "turns that are not used, or that have the role of the turn before"
    RepeatedKey "repeated-key" Warning "a key that appears twice in a line of data"
    CutConversations "cut-conversations" Warning "conversations that are cut at the end of a row"
    NoCheckpoint "no-checkpoint" Warning "training that ends before its first checkpoint"
    NeverFires "never-fires" Warning "a guard or an interval that can never act in this training"
    AlwaysFires "always-fires" Warning "a guard that every training sets off"
    ProbeMisfit "probe-misfit" Warning "a probe whose sampler does not fit what the training makes"
    ChatmlAssumed "chatml-assumed" Warning "a score of conversations in a form that the model may not know"
    EqualSamples "equal-samples" Warning "several samples that are all identical"
    StrippedPrompt "stripped-prompt" Warning "a benchmark whose prompts lost their line end"
    MoreStepsThanTokens "more-steps-than-tokens" Warning "a sampler with more steps than tokens"
    TimeOverBudget "time-over-budget" Warning "training takes longer than the budget"
    DiskOverBudget "disk-over-budget" Warning "artifacts and checkpoints take more than the budget"
    WindowTooSmall "window-too-small" Warning "a window without room for what is shuffled together"
    UnknownMachine "unknown-machine" Warning "a machine for which no time can be estimated"
    SuffixUnseen "suffix-unseen" Warning "an infill by a checkpoint that does not see the suffix"
    OldName "old-name" Warning "a field under the name that it had before"
    Unused "unused" Warning "a declaration that nothing uses"
    UnpinnedRevision "unpinned-revision" Warning "a repository without a fixed revision"
    LockStale "lock-stale" Warning "a pin that nothing needs"
    ColumnsUnresolved "columns-unresolved" Warning "columns that the hub does not report"
    AbsentSecret "absent-secret" Warning "a secret that is not in the environment"
    NotSupportedYet "not-supported-yet" Warning "a feature that `run` does not support yet"
    Internal "internal" Error "a bug in fmflow"
}
