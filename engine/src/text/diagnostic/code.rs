//! The closed list of codes. Each has a page in `schemas/codes.md` and a case in `tests/cases/check/`.

use super::Severity;

macro_rules! codes {
    ($($variant:ident $name:literal $severity:ident $title:literal)*) => {
        /// Kinds of faults, by a stable name in kebab case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the phases.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Names of the warnings: what a configuration may allow or deny.
            pub fn warnings() -> impl Iterator<Item = &'static str> + Clone {
                let warnings = Self::ALL.iter().filter(|code| code.severity() == Severity::Warning);
                warnings.map(|code| code.name())
            }

            /// Its stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Whether it leaves no pipeline.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What it means, in a few words.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    UnreadableFile "unreadable-file" Error "the configuration cannot be read"
    FileTooLarge "file-too-large" Error "the configuration, or one node of it, is too large"
    NotUtf8 "not-utf8" Error "the configuration is not UTF-8 text"
    NestedTooDeep "nested-too-deep" Error "braces, comments or mixtures nest too deep"
    Syntax "syntax" Error "the text is not KDL"
    KeywordWithoutHash "keyword-without-hash" Error "`true`, `false`, `null`, `inf` or `nan` without `#`"
    UrlTrap "url-trap" Error "an unquoted address became a comment"
    TrailingColon "trailing-colon" Error "a colon after a node's name"
    TypeAnnotation "type-annotation" Error "a type annotation, which this language does not have"
    NoPipeline "no-pipeline" Error "there is no `pipeline` node"
    NoStages "no-stages" Error "the pipeline has no stages"
    UnknownNode "unknown-node" Error "a node that does not exist at this place"
    UnknownField "unknown-field" Error "a field that the node does not have"
    MissingNode "missing-node" Error "a node is required here"
    MissingField "missing-field" Error "a field is required here"
    DuplicateNode "duplicate-node" Error "a node that may stand only once stands twice"
    DuplicateField "duplicate-field" Error "a field is written twice"
    ConflictingFields "conflicting-fields" Error "two fields exclude each other"
    FieldDoesNotApply "field-does-not-apply" Error "a field without effect beside another's value"
    WrongType "wrong-type" Error "a value of another type than the field's"
    UnknownWord "unknown-word" Error "a word that the field does not know"
    OutOfRange "out-of-range" Error "a value outside the field's range"
    InvalidName "invalid-name" Error "a name that cannot be a folder's"
    DuplicateName "duplicate-name" Error "a name is declared twice"
    UnknownName "unknown-name" Error "a name that is not declared"
    WrongKind "wrong-kind" Error "a name of another kind of thing"
    IncludeCycle "include-cycle" Error "files that include each other"
    MixtureCycle "mixture-cycle" Error "mixtures that contain each other"
    EmptyMixture "empty-mixture" Error "a mixture that gives nothing to read"
    Cycle "cycle" Error "stages that wait for each other"
    NoFiles "no-files" Error "a dataset, folder or file does not exist"
    ForbiddenFolder "forbidden-folder" Error "a dataset in a hidden folder or in `target/`"
    NoColumn "no-column" Error "the files have no such field"
    UnfitData "unfit-data" Error "a data file that is not what its format says"
    NoRows "no-rows" Error "no rows are made of the dataset"
    AmbiguousRows "ambiguous-rows" Error "several rows are made of the dataset"
    WarmupOverSteps "warmup-over-steps" Error "the schedule is longer than the training"
    FinalOverPeak "final-over-peak" Error "the learning rate ends above its peak"
    NoDecayUnmatched "no-decay-unmatched" Error "a word of `no-decay` that exempts no parameter"
    BatchNotDivisible "batch-not-divisible" Error "the micro-batch does not divide the batch"
    BlockNotDividingRows "block-not-dividing-rows" Warning "a size of blocks that does not divide the rows"
    HeadsNotDivisible "heads-not-divisible" Error "head counts or sizes that do not fit"
    RowOverContext "row-over-context" Error "rows are longer than the model's context"
    NothingHeldOut "nothing-held-out" Error "a dataset is measured that holds nothing out"
    NoChatData "no-chat-data" Error "a dataset without `chat` where answers are needed"
    NoCanvas "no-canvas" Error "nothing says how long an answer may be"
    MaskTokenTaken "mask-token-taken" Error "the mask token's row belongs to a token"
    MaskOutsideVocabulary "mask-outside-vocabulary" Error "the embedding has no row for the mask token"
    NotConverted "not-converted" Error "a flow objective or sampler on an autoregressive checkpoint"
    AlreadyConverted "already-converted" Error "a checkpoint is converted twice"
    AttentionMismatch "attention-mismatch" Error "attention that lets the model see its target"
    BlockMismatch "block-mismatch" Error "a sampler's blocks that the checkpoint's are not made of"
    LossMismatch "loss-mismatch" Error "a loss that the path does not define"
    UniformWithoutTime "uniform-without-time" Error "a uniform source without time conditioning"
    PathMismatch "path-mismatch" Error "a stage goes on along another probability path than its checkpoint"
    SamplerMismatch "sampler-mismatch" Error "a sampler that the checkpoint's noise does not allow"
    ShiftMismatch "shift-mismatch" Error "left-to-right work on a checkpoint that predicts in place"
    TokenizerMismatch "tokenizer-mismatch" Error "rows and model have different tokenizers"
    RequireNotMeasured "require-not-measured" Error "a score is required of a checkpoint that is not measured"
    LockInvalid "lock-invalid" Error "the lock file cannot be read"
    RepositoryNotFound "repository-not-found" Error "a repository that the hub does not show"
    RevisionNotFound "revision-not-found" Error "a branch, tag or commit that the repository does not have"
    AccessDenied "access-denied" Error "a repository that the hub does not open"
    UnknownSubset "unknown-subset" Error "a subset that the dataset does not have"
    UnknownColumn "unknown-column" Error "a column that the dataset does not have"
    HubUnreachable "hub-unreachable" Error "the hub gives no usable answer"
    AutoregressiveOnFlow "autoregressive-on-flow" Warning "autoregressive training or sampling of a flow checkpoint"
    CausalFlow "causal-flow" Warning "a flow that sees earlier positions only"
    UncappedWeight "uncapped-weight" Warning "positions near t = 1 outweigh all others"
    DecayedNorms "decayed-norms" Warning "weight decay on the scales of norms"
    UnusualLearningRate "unusual-learning-rate" Warning "a peak far from what published runs took"
    RepeatedData "repeated-data" Warning "a dataset that is read too often"
    NoEndOfDocument "no-end-of-document" Warning "documents without an end"
    CutConversations "cut-conversations" Warning "conversations that are cut where a row ends"
    NoCheckpoint "no-checkpoint" Warning "training that ends before its first checkpoint"
    EqualSamples "equal-samples" Warning "several samples that are all the same"
    MoreStepsThanTokens "more-steps-than-tokens" Warning "a sampler with more steps than tokens"
    TimeOverBudget "time-over-budget" Warning "training takes longer than the budget"
    DiskOverBudget "disk-over-budget" Warning "artifacts and checkpoints take more than the budget"
    UnknownMachine "unknown-machine" Warning "a machine that no time can be estimated for"
    SuffixUnseen "suffix-unseen" Warning "a gap is filled by a checkpoint that does not see what follows"
    Unused "unused" Warning "a declaration that nothing uses"
    UnpinnedRevision "unpinned-revision" Warning "a repository without a fixed revision"
    LockStale "lock-stale" Warning "a pin that nothing asks for"
    ColumnsUnresolved "columns-unresolved" Warning "columns that the hub does not tell"
    AbsentSecret "absent-secret" Warning "a secret is not in the environment"
    NotSupportedYet "not-supported-yet" Warning "a feature that `run` will refuse"
    Internal "internal" Error "a defect of fmflow"
}
