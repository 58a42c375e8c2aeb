//! What can go wrong between a file and a module.

use std::io;
use std::path::PathBuf;

use effdet_core::with_causes;
use pytorch_reader::PytorchError;

use crate::{DType, LoadReport};

/// Why a checkpoint could not be read, loaded or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to open or read the file.
    #[error("cannot read {}", path.display())]
    Read {
        /// The checkpoint.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The first bytes are those of no format this crate knows.
    #[error("{} is not a checkpoint: {found}, expected safetensors or a file written by torch.save", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the file looks like.
        found: &'static str,
    },
    /// The safetensors header contradicts itself or the file.
    #[error("{} is not a valid safetensors file: {reason}", path.display())]
    Safetensors {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong, naming the tensor where there is one.
        reason: String,
    },
    /// The zip, tar or pickle written by `torch.save` is damaged or holds something unsupported.
    #[error("{} is not a readable PyTorch checkpoint", path.display())]
    Pytorch {
        /// The checkpoint.
        path: PathBuf,
        /// What the reader found.
        source: PytorchError,
    },
    /// The container around the pickle is damaged.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Unpickling the file with Python would run a function that has no place in a checkpoint.
    #[error("{} would call {function} when unpickled; nothing was run, and the file should not be trusted", path.display())]
    UnsafePickle {
        /// The checkpoint.
        path: PathBuf,
        /// The function, as `module.name`.
        function: String,
    },
    /// Something in the file claims more than the file can hold.
    #[error("{}: {what} claims {claimed} bytes, more than the {limit} allowed for a file of this size", path.display())]
    TooLarge {
        /// The checkpoint.
        path: PathBuf,
        /// Which part of the file.
        what: String,
        /// Bytes claimed.
        claimed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file is well formed and holds no tensor.
    #[error("{} holds no tensors", path.display())]
    NoTensors {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Two tensors end up under one name once wrapper prefixes are removed or keys are mapped.
    #[error("{}: two tensors are called {name}", path.display())]
    DuplicateName {
        /// The checkpoint.
        path: PathBuf,
        /// The name they share.
        name: String,
    },
    /// A tensor was asked for that the file does not hold.
    #[error("{} has no tensor {name}", path.display())]
    NoSuchTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The name asked for.
        name: String,
    },
    /// A tensor's element type has no conversion to `f32`.
    #[error("tensor {name} in {} has element type {dtype}, which cannot be read as f32", path.display())]
    UnsupportedDType {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: DType,
    },
    /// A tensor's bytes could not be read.
    #[error("cannot read tensor {name} from {}", path.display())]
    ReadTensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What went wrong.
        source: io::Error,
    },
    /// The checkpoint and the module do not have the same tensors.
    #[error("{0}")]
    Mismatch(Box<LoadReport>),
    /// A value under an `effdet.` key is not what that key holds.
    #[error("metadata key {key} has an unreadable value")]
    Metadata {
        /// The full key.
        key: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The checkpoint could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No published weights have this name.
    #[error("no published weights are called `{name}`{}", did_you_mean(.nearest))]
    UnknownWeights {
        /// The name asked for.
        name: String,
        /// The nearest known names.
        nearest: Vec<String>,
    },
    /// The environment names no folder for caches.
    #[error("no folder for downloaded weights is known: set EFFDET_CACHE and HF_HOME, or HOME")]
    NoCacheFolder,
    /// The weights are not on this machine, and nothing was or could be fetched.
    #[error("the weights of `{name}` are not on this machine{why}")]
    NotDownloaded {
        /// Their name.
        name: String,
        /// Why they were not fetched, and what to do.
        why: &'static str,
    },
    /// A file has another content than the published one. It is not used.
    #[error("{file} has SHA-256 {found}, expected {expected}{hint}")]
    WrongHash {
        /// The address or path.
        file: String,
        /// The hash, or its first digits.
        expected: String,
        /// The hash of what was found.
        found: String,
        /// What the content looks like.
        hint: &'static str,
    },
    /// A file that nothing is known to compare with.
    #[error("no hash is known for {}", path.display())]
    NoHash {
        /// The file.
        path: PathBuf,
    },
    /// A server answered with an error, or with something that is no answer to the request.
    #[error("{url}: {reason}")]
    Server {
        /// The address.
        url: String,
        /// The status and what it means here.
        reason: String,
    },
    /// No connection, or one that broke more often than allowed.
    #[error("{url} cannot be reached")]
    Network {
        /// The address.
        url: String,
        /// What went wrong last.
        source: io::Error,
    },
    /// Every source of a set of weights failed.
    #[error("the weights of `{name}` cannot be fetched: {}", joined(.errors))]
    NoSource {
        /// Their name.
        name: String,
        /// What each source said, in order.
        errors: Vec<Error>,
    },
    /// Weights cannot be taken over into another network.
    #[error("cannot adapt {name}: {reason}")]
    Transfer {
        /// The tensor.
        name: String,
        /// Why.
        reason: String,
    },
}

fn did_you_mean(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!(": did you mean {}?", nearest.join(", ")) }
}

/// Each with its cause, which a list of errors cannot have as its source.
fn joined(errors: &[Error]) -> String {
    errors.iter().map(|error| with_causes(error)).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_errors_says_what_caused_each() {
        let refused = io::ErrorKind::ConnectionRefused.into();
        let network = Error::Network { url: "https://hub.example/x".into(), source: refused };
        let server = Error::Server { url: "https://mirror.example/x".into(), reason: "status 404".into() };
        let all = Error::NoSource { name: "x".into(), errors: vec![network, server] };
        assert_eq!(
            all.to_string(),
            "the weights of `x` cannot be fetched: https://hub.example/x cannot be reached: connection refused; \
             https://mirror.example/x: status 404"
        );
    }
}
