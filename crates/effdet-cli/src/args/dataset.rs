//! The arguments of `effdet dataset`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use effdet::data::{Format, Pixels, Source};
use effdet::prelude::ImageSize;

#[derive(Debug, Args)]
pub struct DatasetArgs {
    /// Folder of the data set.
    #[arg(value_name = "DIR")]
    pub data: PathBuf,

    /// Format of its labels: coco, voc, pets, via, open-images, yolo, csv.
    #[arg(long, value_name = "FORMAT")]
    pub format: Format,

    /// The official split to look at [default: everything].
    #[arg(long, value_name = "NAME")]
    pub split: Option<String>,

    /// The label file, where it is not in the format's usual place.
    #[arg(long, value_name = "FILE")]
    pub annotations: Option<PathBuf>,

    /// Folder of the pictures, where it is not in the format's usual place.
    #[arg(long, value_name = "DIR")]
    pub pictures: Option<PathBuf>,

    /// What pixel coordinates mean [default: as the format says].
    #[arg(long, value_enum)]
    pub pixels: Option<PixelConvention>,

    /// The classes to look at, one per line in the order of the ids [default: those of the labels].
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// The detector whose anchors are compared with the boxes.
    #[arg(long, value_name = "NAME", default_value = "tf_efficientdet_d0")]
    pub model: String,

    /// Size of its input: a side, or height x width [default: the model's].
    #[arg(long, value_name = "N|HxW")]
    pub image_size: Option<ImageSize>,

    /// Write everything as JSON; `-` is standard output, then without the text.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write a page of plots, index.html, into this folder.
    #[arg(long, value_name = "DIR")]
    pub plots: Option<PathBuf>,

    /// Draw this many pictures with their boxes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub show: usize,

    /// Folder of the drawn pictures [default: `pictures` in that of --plots, else effdet-dataset].
    #[arg(long, value_name = "DIR", requires = "show")]
    pub out: Option<PathBuf>,
}

impl DatasetArgs {
    /// Where the data set is.
    pub fn source(&self) -> std::io::Result<Source> {
        let mut source = Source::new(&self.data);
        source.split.clone_from(&self.split);
        source.labels = self.annotations.as_ref().map(std::path::absolute).transpose()?;
        source.pictures = self.pictures.as_ref().map(std::path::absolute).transpose()?;
        Ok(source)
    }
}

/// What pixel coordinates mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PixelConvention {
    /// Positions on the picture plane.
    Continuous,
    /// Pixels counted from 1, both corners inside the box.
    OneBased,
    /// Pixels counted from 1, all made 1 less, as the reference reads them.
    Reference,
}

impl From<PixelConvention> for Pixels {
    fn from(convention: PixelConvention) -> Self {
        match convention {
            PixelConvention::Continuous => Self::Continuous,
            PixelConvention::OneBased => Self::OneBased,
            PixelConvention::Reference => Self::Effdet,
        }
    }
}
