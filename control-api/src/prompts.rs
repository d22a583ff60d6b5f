//! Prompts: those built in, a folder that replaces some of them, and the commands about it.

use std::io::{self, Write};
use std::path::Path;

use relay::prompts::{PromptError, Prompts, Survey, export, survey};

/// What `sotto prompts --help` tells besides the commands.
pub const HELP: &str = "\
A folder of prompts has a folder for each language (es) or language and region (es-MX), and in it
WAV files. What a folder lacks is said as the region's language says it, then as built in; a
language that is not built in needs every prompt.

  ask/STEP                what to key: ask/payment-card-number.wav
  ask/custom              the same for custom fields
  date-order/ORDER        month-day-year, day-month-year or year-month-day, after ask/date-of-birth
  error/ERROR             what was wrong, said before what to key
  error/invalid           the same for errors without a file of their own
  repeat                  to key it once more
  processing, passed      that it is being handed over; that it is done
  failed/REASON           that it ended and why; failed/otherwise for any other reason
  use-keypad              that the caller is to use the keypad
  last-four, digit/0..9   a card's last four digits

After ask/ and error/ a name may go on with .BRAND and .attempt-2 or .attempt-3 (from that attempt
on), after error/ and repeat with .STEP before these: ask/security-code.amex.wav,
error/input-timeout.postal-code.attempt-2.wav. The file that fits best is said.

WAV: one channel, 16-bit PCM, A-law or mu-law, 8, 16, 22.05, 24, 44.1 or 48 kHz, 20 seconds at most, no tone of a key.

Examples:
  sotto prompts export /etc/sotto/prompts     all names, texts and a README to start from
  sotto prompts check /etc/sotto/prompts      before naming it in the configuration:
                                              prompts.directory = \"/etc/sotto/prompts\"";

/// The prompts built in, with those of a folder in place of theirs if one is named.
///
/// # Errors
/// The first thing that is wrong with the folder.
pub fn load(folder: Option<&Path>) -> Result<Prompts, PromptError> {
    folder.map_or_else(|| Ok(Prompts::builtin()), Prompts::load)
}

/// Writes the prompts built in into a folder and tells how many files that were.
///
/// # Errors
/// If something can't be written or is there already.
pub fn export_to(folder: &Path, out: &mut impl Write) -> Result<(), CommandError> {
    let count = export(folder)?;
    writeln!(out, "{count} files in {}", folder.display())?;
    Ok(())
}

/// Tells of a folder which prompts it has, which come from elsewhere, and all that is wrong.
///
/// # Errors
/// If something is wrong; what, has been told.
pub fn check(folder: &Path, out: &mut impl Write) -> Result<(), CommandError> {
    let Survey { prompts: _, languages, errors } = survey(folder);
    for found in &languages {
        let (own, inherited) = (found.own, found.inherited.len());
        writeln!(out, "{}: {own} here, {inherited} from elsewhere", found.language)?;
        for name in &found.inherited {
            writeln!(out, "  {name}")?;
        }
    }
    for error in &errors {
        writeln!(out, "wrong: {error}")?;
    }
    match (errors.len(), languages.len()) {
        (0, 0) => Err(CommandError::Empty),
        (0, _) => Ok(()),
        (count, _) => Err(CommandError::Faults(count)),
    }
}

/// Why a command about prompts failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file can't be written.
    #[error(transparent)]
    Prompts(#[from] PromptError),
    /// Nobody reads what is told.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// The folder has no language.
    #[error("no folder of a language is in there; sotto prompts export writes some")]
    Empty,
    /// So many things are wrong.
    #[error("prompts to correct: {0}")]
    Faults(usize),
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{CommandError, check, export_to, load};

    #[test]
    fn an_export_is_checked_and_its_faults_are_counted() {
        let folder = std::env::temp_dir().join(format!("sotto-prompts-{}", std::process::id()));
        let mut told = Vec::new();
        export_to(&folder, &mut told).unwrap();
        assert!(String::from_utf8_lossy(&told).contains(" files in "));
        check(&folder, &mut Vec::new()).unwrap();
        assert!(load(Some(&folder)).is_ok() && load(None).is_ok());

        fs::remove_file(folder.join("es/passed.wav")).unwrap();
        fs::write(folder.join("de/passed.wav"), "no sound").unwrap();
        let mut told = Vec::new();
        assert!(matches!(check(&folder, &mut told), Err(CommandError::Faults(1))));
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains("es: ") && told.contains("\n  passed.wav\n"), "{told}");
        assert!(told.lines().last().unwrap().starts_with("wrong: "), "{told}");
        assert!(load(Some(&folder)).is_err());

        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        assert!(matches!(check(&folder, &mut Vec::new()), Err(CommandError::Empty)));
        fs::remove_dir_all(&folder).unwrap();
    }
}
