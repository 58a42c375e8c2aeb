//! What a run leaves in its folder.

use std::fs;
use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use effdet_core::{Detection, Replacement};
use effdet_data::Dataset;
use effdet_metrics::{CocoEvaluator, CocoParams, DiagnosisOptions, Loaded};
use effdet_weights::{identity_keys, save_safetensors};

use super::{Engine, Output, Phase, RunFiles};
use crate::evaluate::{detections, ground_truth};
use crate::logs::{metrics_csv, write_whole};
use crate::parameters::{assign, values};
use crate::plots::{self, save_diagnosis, save_history, save_predictions};
use crate::report::{ClassTable, Report, save_report};
use crate::state::{self, Best, EpochRecord, RunTensors};
use crate::{Error, Event, TrainConfig};

/// The files of a run that are written under a temporary name first, kept weights besides.
const FILES: [&str; 6] =
    [RunFiles::STATE, RunFiles::LAST, RunFiles::BEST, RunFiles::METRICS, RunFiles::CONFIG, RunFiles::REPORT];

impl Engine<'_> {
    /// Writes what a user looks at, then the checkpoint that makes it final.
    pub(super) fn publish(&mut self, output: Option<&mut Output>) -> Result<(), Error> {
        let Some(output) = output else { return Ok(()) };
        self.save_weights(&output.folder.join(RunFiles::LAST))?;
        let table = metrics_csv(&self.session.state.history);
        write_whole(&output.folder.join(RunFiles::METRICS), table.as_bytes())?;
        self.save_state(output)?;
        self.remove_unkept(&output.folder.clone())?;
        Ok(())
    }

    pub(super) fn save_state(&mut self, output: &mut Output) -> Result<(), Error> {
        output.events.sync()?;
        self.session.state.events = output.events.length();
        let tensors = RunTensors {
            weights: values(&self.model.network),
            ema: self.session.ema.as_ref().map(|ema| ema.values.clone()),
            optimizer: self.session.optimizer.as_ref().map(|o| o.state.clone()).unwrap_or_default(),
        };
        let path = output.folder.join(RunFiles::STATE);
        state::save(&path, &self.session.state, &tensors)?;
        output.saved = Instant::now();
        self.tell(&Event::Checkpoint(&path));
        Ok(())
    }

    /// Writes the weights that are evaluated.
    pub(super) fn save_weights(&self, path: &Path) -> Result<(), Error> {
        let state = &self.session.state;
        let mut metadata = self.model.metadata();
        metadata.training = Some(
            [
                ("epochs".to_owned(), state.epoch.into()),
                ("steps".to_owned(), state.step.into()),
                ("averaged".to_owned(), self.session.ema.is_some().into()),
                ("code".to_owned(), concat!("effdet ", env!("CARGO_PKG_VERSION")).into()),
            ]
            .into(),
        );
        let metadata = metadata.to_map();
        match &self.session.ema {
            Some(ema) => {
                let network = assign(self.model.network.valid(), ema.values.clone());
                save_safetensors(&network, path, &metadata, identity_keys)?;
            }
            None => save_safetensors(&self.model.network, path, &metadata, identity_keys)?,
        }
        Ok(())
    }

    /// Keeps the weights of this evaluation if they are among the best few.
    pub(super) fn keep_top(
        &mut self,
        config: &TrainConfig,
        record: &EpochRecord,
        output: &Output,
    ) -> Result<(), Error> {
        let limit = config.checkpoint.top_k;
        let value = record.metric(&config.monitor).filter(|value| limit > 0 && value.is_finite());
        let Some(value) = value else { return Ok(()) };
        let kept = &mut self.session.state.kept;
        let place = kept.partition_point(|best| best.value >= value);
        if place >= limit {
            return Ok(());
        }
        kept.insert(place, Best { value, epoch: record.epoch });
        kept.truncate(limit);
        self.save_weights(&output.folder.join(kept_name(record.epoch)))
    }

    /// Removes kept weights that are not in the state: those that dropped out, and those of a run that was killed; and what
    /// a killed process was writing.
    pub(super) fn remove_unkept(&self, folder: &Path) -> Result<(), Error> {
        let kept: Vec<String> = self.session.state.kept.iter().map(|best| kept_name(best.epoch)).collect();
        for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
            let entry = entry.map_err(Error::file("read", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_left_over(&name, &FILES) || is_kept_name(&name) && !kept.contains(&name) {
                remove(&entry.path())?;
            }
        }
        let charts = folder.join(RunFiles::PLOTS);
        if !charts.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(&charts).map_err(Error::file("read", &charts))? {
            let entry = entry.map_err(Error::file("read", &charts))?;
            if is_left_over(&entry.file_name().to_string_lossy(), &plots::FILES) {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Writes charts, pictures and the report.
    pub(super) fn save_page(
        &self,
        phase: &Phase<'_>,
        folder: &Path,
        dataset: &Dataset,
        found: &[Vec<Detection>],
    ) -> Result<(), Error> {
        let plots = folder.join(RunFiles::PLOTS);
        let history = &self.session.state.history;
        save_history(&plots, history)?;
        let loaded = Loaded { truth: ground_truth(dataset)?, detections: detections(dataset, found) };
        // Only labels of VOC and OpenImages have these, and their metrics leave such objects out.
        let mut objects = dataset.records.iter().flat_map(|record| &record.objects);
        let leaves_out = objects.any(|object| object.is_difficult || object.is_group_of);
        let options = DiagnosisOptions::default().with_ignore_flag(leaves_out);
        let diagnosis = save_diagnosis(&plots, &loaded, options)?;
        let pictures = save_predictions(&plots, dataset, found)?;
        let coco = CocoEvaluator::new(&loaded.truth, CocoParams::default())?.evaluate(&loaded.detections)?;
        let config = self.model.config();
        let parameters = phase.parameters.iter().filter(|parameter| !parameter.is_buffer);
        let parameters: usize = parameters.map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        let mut facts = vec![
            ("model", format!("{}, {parameters} parameters", config.name)),
            ("input", config.image_size.to_string()),
            ("classes", dataset.class_map.len().to_string()),
            (
                "pictures",
                format!(
                    "{} to train, {} to validate",
                    self.train.dataset().records.len(),
                    dataset.records.len()
                ),
            ),
            ("batch", format!("{} pictures", self.train.loader().options().batch_size)),
        ];
        if let Some(best) = &self.session.state.best {
            let monitor = &phase.config.monitor;
            facts.push(("best", format!("{monitor} {:.3} after epoch {}", best.value, best.epoch)));
        }
        let lead = format!(
            "Epoch {} of {}; the numbers are those of the weights after it.",
            self.session.state.epoch, phase.epochs_in_all
        );
        let report = Report {
            title: format!("Training of {}", config.name),
            lead,
            numbers: history.last().map(|record| record.metrics.clone()).unwrap_or_default(),
            facts: facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            pictures: vec![pictures],
            history,
            classes: Some(ClassTable::coco(&coco)),
            diagnosis: Some(&diagnosis),
            configuration: fs::read_to_string(folder.join(RunFiles::CONFIG)).ok(),
        };
        save_report(&folder.join(RunFiles::REPORT), &plots, &report)
    }
}

fn kept_name(epoch: u64) -> String {
    format!("epoch-{epoch:04}.safetensors")
}

fn is_kept_name(name: &str) -> bool {
    let epoch = name.strip_prefix("epoch-").and_then(|rest| rest.strip_suffix(".safetensors"));
    epoch.is_some_and(|epoch| epoch.len() >= 4 && epoch.bytes().all(|digit| digit.is_ascii_digit()))
}

/// Whether a file is what a killed process was writing in the place of one of `files` or of kept weights. What other
/// programs write is theirs.
fn is_left_over(name: &str, files: &[&str]) -> bool {
    Replacement::replaced_name(name).is_some_and(|name| files.contains(&name) || is_kept_name(name))
}

impl RunFiles {
    /// Refuses a folder with weights that a new run would write over or remove. One with a checkpoint has a run to go on
    /// with; no run leaves weights without a checkpoint.
    ///
    /// # Errors
    /// [`Error::Resume`] with the weights, and if the folder cannot be read.
    pub fn refuse_foreign_weights(folder: &Path) -> Result<(), Error> {
        let path = folder.join(Self::STATE);
        if path.exists() {
            return Ok(());
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).map_err(Error::file("read", folder))? {
            let entry = entry.map_err(Error::file("read", folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if [Self::BEST, Self::LAST].contains(&name.as_str()) || is_kept_name(&name) {
                found.push(name);
            }
        }
        let Some(name) = found.into_iter().min() else { return Ok(()) };
        let reason = format!("its folder holds the weights {name} of another run: name another folder");
        Err(Error::Resume { path, reason })
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        _ => Ok(()),
    }
}
