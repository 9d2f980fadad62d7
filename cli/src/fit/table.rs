//! Tables of numbers in text: `a,b` with or without names, between commas, semicolons or tabs.

use std::path::Path;

use crate::Failure;

/// The fields of each line, with the number of the line in the file.
pub struct Table {
    path: String,
    names: Option<Vec<String>>,
    rows: Vec<(usize, Vec<String>)>,
    columns: usize,
}

impl Table {
    /// From a file. Blank lines and those that begin with # are left out; the first line that is left holds names
    /// where no field of it is a number.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path)
            .map_err(|error| Failure::Input(format!("cannot read {shown}: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            let line = line + 1;
            Failure::Input(format!("{shown}: line {line} is not UTF-8, expected a table of text"))
        })?;
        Self::parse(shown, &text)
    }

    fn parse(path: String, text: &str) -> Result<Self, Failure> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let mut lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let none = || {
            Failure::Input(format!(
                "{path} has no rows, expected a table with a header line or none"
            ))
        };
        let Some((first, line)) = lines.next() else { return Err(none()) };
        let separator = [';', '\t', ','].into_iter().find(|&mark| line.contains(mark));
        let split = |line: &str| -> Vec<String> {
            let field = |field: &str| {
                let field = field.trim();
                let inner = field.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                inner.unwrap_or(field).trim().to_string()
            };
            match separator {
                Some(mark) => line.split(mark).map(field).collect(),
                None => vec![field(line)],
            }
        };
        let fields = split(line);
        let columns = fields.len();
        let named = fields.iter().all(|field| field.parse::<f64>().is_err());
        let (names, mut rows) =
            if named { (Some(fields), vec![]) } else { (None, vec![(first, fields)]) };
        for (number, line) in lines {
            let fields = split(line);
            if fields.len() != columns {
                return Err(Failure::Input(format!(
                    "{path}: line {number} has {} columns, expected {columns} as line {first} has",
                    fields.len()
                )));
            }
            rows.push((number, fields));
        }
        if rows.is_empty() {
            return Err(none());
        }
        if let Some(names) = &names
            && let Some(twice) =
                names.iter().enumerate().find(|(at, name)| names[..*at].contains(name))
        {
            let name = twice.1;
            return Err(Failure::Input(format!(
                "{path}: line {first} names two columns \"{name}\", expected a name for each"
            )));
        }
        Ok(Self { path, names, rows, columns })
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// What a column is called: its name, or its number.
    pub fn name(&self, column: usize) -> String {
        match &self.names {
            Some(names) => names[column].clone(),
            None => format!("column {}", column + 1),
        }
    }

    /// The column of a name, where there is one.
    pub fn named(&self, name: &str) -> Option<usize> {
        self.names.as_ref()?.iter().position(|other| other.eq_ignore_ascii_case(name))
    }

    /// The column that `flag` asks for by its name, or by its number from 1.
    pub fn column(&self, flag: &str, wanted: &str) -> Result<usize, Failure> {
        if let Some(column) = self.named(wanted) {
            return Ok(column);
        }
        match wanted.parse::<usize>() {
            Ok(number) if (1..=self.columns).contains(&number) => return Ok(number - 1),
            _ => {}
        }
        let known = match &self.names {
            Some(names) => names.join(", "),
            None => format!("a number from 1 to {}: it has no line of names", self.columns),
        };
        let path = &self.path;
        Err(Failure::Input(format!("{flag} is {wanted}, expected a column of {path}: {known}")))
    }

    /// The numbers of a column.
    pub fn numbers(&self, column: usize) -> Result<Vec<f64>, Failure> {
        let number = |(line, fields): &(usize, Vec<String>)| {
            let field = &fields[column];
            match field.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number),
                _ => Err(self.wrong(
                    *line,
                    column,
                    field,
                    "a finite number, with a point for decimals",
                )),
            }
        };
        self.rows.iter().map(number).collect()
    }

    /// The numbers of a column, which must be above 0.
    pub fn positive(&self, column: usize) -> Result<Vec<f64>, Failure> {
        let numbers = self.numbers(column)?;
        match numbers.iter().position(|&number| number <= 0.0) {
            None => Ok(numbers),
            Some(at) => {
                let (line, fields) = &self.rows[at];
                Err(self.wrong(*line, column, &fields[column], "a finite number above 0"))
            }
        }
    }

    /// The numbers of a column, which must be whole and from 0 on.
    pub fn steps(&self, column: usize) -> Result<Vec<usize>, Failure> {
        let numbers = self.numbers(column)?;
        let step = |(&number, (line, fields)): (&f64, &(usize, Vec<String>))| match number.fract()
            == 0.0
            && (0.0..9e15).contains(&number)
        {
            true => Ok(number as usize),
            false => Err(self.wrong(*line, column, &fields[column], "a whole number from 0")),
        };
        numbers.iter().zip(&self.rows).map(step).collect()
    }

    fn wrong(&self, line: usize, column: usize, field: &str, expected: &str) -> Failure {
        let path = &self.path;
        let field: String = field.chars().take(40).collect();
        let name = match &self.names {
            Some(names) => format!("column {} ({})", column + 1, names[column]),
            None => format!("column {}", column + 1),
        };
        Failure::Input(format!("{path}: line {line}, {name} is \"{field}\", expected {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table, String> {
        Table::parse("t.csv".into(), text).map_err(|failure| match failure {
            Failure::Input(message) | Failure::Other(message) => message,
        })
    }

    fn message(text: &str) -> String {
        table(text).err().unwrap()
    }

    #[test]
    fn names_separators_comments_and_quotes() {
        let all =
            table("\u{feff}# made by hand\n\n\"N\"; loss ;run\r\n1e5;3.5;a\r\n\n2e5; 3.25;b\n")
                .unwrap();
        assert_eq!((all.columns(), all.name(1), all.named("LOSS")), (3, "loss".into(), Some(1)));
        assert_eq!(all.numbers(0).unwrap(), [1e5, 2e5]);
        assert_eq!(all.numbers(1).unwrap(), [3.5, 3.25]);
        assert_eq!((all.column("--x", "3").unwrap(), all.column("--x", "n").unwrap()), (2, 0));
        let bare = table("1\t2\n3\t4\n").unwrap();
        assert_eq!((bare.name(1), bare.numbers(1).unwrap()), ("column 2".into(), vec![2.0, 4.0]));
        assert_eq!(table("0.5\n0.25\n").unwrap().numbers(0).unwrap(), [0.5, 0.25]);
        // A text beside a number is no name.
        assert_eq!(table("a,1\nb,2\n").unwrap().numbers(1).unwrap(), [1.0, 2.0]);
    }

    #[test]
    fn what_is_wrong_is_said_by_line_and_column() {
        for text in ["", "\n # only this\n", "a,b\n"] {
            assert_eq!(
                message(text),
                "t.csv has no rows, expected a table with a header line or none"
            );
        }
        let ragged = message("a,b\n1,2\n\n3\n");
        assert_eq!(ragged, "t.csv: line 4 has 1 columns, expected 2 as line 1 has");
        assert_eq!(
            message("a,a\n1,2"),
            "t.csv: line 1 names two columns \"a\", expected a name for each"
        );
        let all = table("x,loss\n1,nan\n1.5,two\n").unwrap();
        let wrong = |result: Result<Vec<f64>, Failure>| match result {
            Err(Failure::Input(message)) => message,
            _ => panic!("taken"),
        };
        let expected = "expected a finite number, with a point for decimals";
        assert_eq!(
            wrong(all.numbers(1)),
            format!("t.csv: line 2, column 2 (loss) is \"nan\", {expected}")
        );
        assert!(
            matches!(all.steps(0), Err(Failure::Input(m)) if m.contains("line 3") && m.contains("whole"))
        );
        let Err(Failure::Input(unknown)) = all.column("--x", "y") else { panic!("taken") };
        assert_eq!(unknown, "--x is y, expected a column of t.csv: x, loss");
        assert!(all.column("--x", "0").is_err() && all.column("--x", "3").is_err());
    }
}
