//! Whether the device that a file names can compute what its training stages ask for.

use crate::language::names::Declarations;
use crate::pipeline::config::TrainConfig;
use crate::pipeline::config::train::ComputeFormat;
use crate::pipeline::field_path::train;
use crate::pipeline::machine::parse_machine;
use crate::pipeline::stage::Stage;
use crate::text::diagnostic::{Code, Diagnostic, Sink};

/// How the names of NVIDIA's devices begin that have no products in bf16: those before compute capability 8.0 (CUDA Programming Guide,
/// "Compute Capabilities").
const WITHOUT_BF16: [&str; 13] =
    ["GTX", "K40", "K80", "M40", "M60", "P4", "P100", "QuadroRTX", "RTX20", "RTX8000", "T4", "TITAN", "V100"];

/// Runs it on one training stage.
pub(super) fn lint_card(world: &Declarations, stage: &Stage, config: &TrainConfig, sink: &mut Sink) {
    let machine = world.of_kind("pipeline").find_map(|record| record.child("machine")?.leaf("gpu"));
    let Some((leaf, text)) = machine.and_then(|leaf| Some((leaf, leaf.text()?))) else { return };
    let (_, device) = parse_machine(text);
    if config.compute == ComputeFormat::Bf16 && WITHOUT_BF16.iter().any(|name| device.starts_with(name)) {
        sink.push(
            Diagnostic::new(Code::DeviceMismatch, format!("{device} has no products in bf16"))
                .at(stage.place(train::COMPUTE), "not on that device")
                .also(&leaf.span, "the device")
                .help("write `compute=\"f32\"`, or name a device with compute capability 8.0 or higher, such as `A100-80GB`"),
        );
    }
}
