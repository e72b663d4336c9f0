//! Reads all of YAML and JSON with the library, within bounds.

use serde_yaml::options::NonFiniteFloatPolicy;
use serde_yaml::{Budget, DuplicateKeyPolicy, Error, Options};

use super::super::tree::TreeNode;

/// Keys, values, lists and mappings in a file. A million entries have ten million; a file made of
/// brackets alone has more, and would take gigabytes.
pub(super) const MAX_NODES: usize = 16_000_000;

/// Values that aliases may add to the file's own, so that a few lines cannot expand to gigabytes.
const MAX_ALIASED: usize = 1_000_000;

/// Bytes of all scalars, those of aliases counted at each use.
const MAX_SCALAR_BYTES: usize = 256 << 20;

/// Lists and mappings within each other. The format needs five.
const MAX_DEPTH: usize = 32;

/// Reads a text. Aliases and `<<` are resolved. `above` is the number of lists and mappings that
/// the text is in already: 0 for a whole file.
pub(super) fn read(text: &str, above: usize) -> Result<TreeNode<'_>, Error> {
    serde_yaml::from_str_with_options(text, options(above))
}

fn options(above: usize) -> Options {
    let mut budget = Budget::default();
    budget.max_nodes = MAX_NODES;
    budget.max_events = 2 * MAX_NODES;
    budget.max_aliases = MAX_ALIASED;
    budget.max_anchors = MAX_ALIASED;
    budget.max_recorded_anchor_events = MAX_ALIASED;
    budget.max_merge_keys = MAX_ALIASED;
    budget.max_depth = MAX_DEPTH.saturating_sub(above);
    budget.max_documents = 2;
    budget.max_total_scalar_bytes = MAX_SCALAR_BYTES;
    // Many entries may use one anchor for their policies, so the ratio is not limited.
    budget.enforce_alias_anchor_ratio = false;

    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = MAX_ALIASED;
    options.duplicate_keys = DuplicateKeyPolicy::PassThrough;
    // `1e400` is a number that does not fit, and its digits are kept all the same.
    options.non_finite_float_policy = NonFiniteFloatPolicy::PassThrough;
    // `no` and `on` are words, as YAML 1.2 and every editor's schema have it.
    options.strict_booleans = true;
    // An entry may be called `null`.
    options.null_as_string = true;
    options.with_snippet = false;
    options
}
