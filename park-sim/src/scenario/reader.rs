//! TOML tables read key by key: every error knows its line, and every key left over is one.

use super::error::{Place, ScenarioError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is the same for all tables of a file.
#[derive(Debug)]
pub(super) struct File<'t> {
    origin: &'t str,
    text: &'t str,
}

impl<'t> File<'t> {
    pub(super) const fn new(origin: &'t str, text: &'t str) -> Self {
        Self { origin, text }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// The whole file as a table.
    pub(super) fn root(&'t self) -> Result<Table<'t>, ScenarioError> {
        let table = DeTable::parse(self.text).map_err(|error| ScenarioError::Syntax {
            place: Box::new(Place {
                origin: self.origin.to_owned(),
                line: error.span().map_or(0, |span| self.line(span.start)),
                what: "not TOML".to_owned(),
            }),
            message: error.message().to_owned(),
        })?;
        Ok(Table { file: self, what: "the file".to_owned(), line: 0, table: table.into_inner(), asked: Vec::new() })
    }
}

/// A table of which keys are taken until none is left.
#[derive(Debug)]
pub(super) struct Table<'t> {
    file: &'t File<'t>,
    what: String,
    line: usize,
    table: DeTable<'t>,
    asked: Vec<&'static str>,
}

/// A value with the line it stands in.
#[derive(Debug)]
pub(super) struct Item<'t> {
    place: Box<Place>,
    key: String,
    value: DeValue<'t>,
}

impl<'t> Table<'t> {
    /// Where this table starts.
    pub(super) fn place(&self) -> Box<Place> {
        self.place_at(self.line)
    }

    fn place_at(&self, line: usize) -> Box<Place> {
        Box::new(Place { origin: self.file.origin.to_owned(), line, what: self.what.clone() })
    }

    /// Gives the table a better name, now that it is known.
    pub(super) fn rename(&mut self, what: String) {
        self.what = what;
    }

    /// Takes a key out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        self.asked.push(key);
        let value = self.table.remove(key)?;
        Some(self.item(key.to_owned(), value))
    }

    fn item(&self, key: String, value: Spanned<DeValue<'t>>) -> Item<'t> {
        let place = self.place_at(self.file.line(value.span().start));
        Item { place, key, value: value.into_inner() }
    }

    /// Takes a key out that must be there.
    pub(super) fn need(&mut self, key: &'static str) -> Result<Item<'t>, ScenarioError> {
        let missing = ScenarioError::Missing { place: self.place(), key };
        self.take(key).ok_or(missing)
    }

    /// Takes all keys that are left: for tables whose keys are names.
    pub(super) fn rest(&mut self) -> Vec<(String, Item<'t>)> {
        let table = core::mem::take(&mut self.table);
        table
            .into_iter()
            .map(|(key, value)| {
                let key = key.into_inner().into_owned();
                (key.clone(), self.item(key, value))
            })
            .collect()
    }

    /// A table under `key`; an empty one if there is none.
    pub(super) fn sub(&mut self, key: &'static str) -> Result<Self, ScenarioError> {
        let file = self.file;
        match self.take(key) {
            None => Ok(Self { file, what: format!("[{key}]"), line: 0, table: DeTable::new(), asked: Vec::new() }),
            Some(item) => item.table(file, format!("[{key}]")),
        }
    }

    /// The tables of an array under `key`, named `what 1`, `what 2` ...
    pub(super) fn subs(&mut self, key: &'static str) -> Result<Vec<Self>, ScenarioError> {
        let file = self.file;
        let Some(item) = self.take(key) else { return Ok(Vec::new()) };
        let place = item.place.clone();
        let items = match item.value {
            DeValue::Array(items) => items,
            other => return Err(wrong(&place, key, &other, "an array of tables")),
        };
        items
            .into_iter()
            .enumerate()
            .map(|(index, value)| self.item(key.to_owned(), value).table(file, format!("{key} {}", index + 1)))
            .collect()
    }

    /// Ends the reading: a key that nobody asked for is an error.
    pub(super) fn finish(self) -> Result<(), ScenarioError> {
        let Some((key, _)) = self.table.iter().next() else { return Ok(()) };
        let line = self.file.line(key.span().start);
        let known = if self.asked.is_empty() { "none".to_owned() } else { self.asked.join(", ") };
        Err(ScenarioError::UnknownKey { place: self.place_at(line), key: key.get_ref().to_string(), known })
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{text}\""),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Float(_) => "a float".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "an array".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn wrong(place: &Place, key: &str, found: &DeValue<'_>, expected: &str) -> ScenarioError {
    ScenarioError::Value {
        place: Box::new(place.clone()),
        key: key.to_owned(),
        found: describe(found),
        expected: expected.to_owned(),
    }
}

impl<'t> Item<'t> {
    /// Where it stands.
    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// The value as text, as for a message.
    pub(super) fn wrong(&self, expected: &str) -> ScenarioError {
        wrong(&self.place, &self.key, &self.value, expected)
    }

    fn table(self, file: &'t File<'t>, what: String) -> Result<Table<'t>, ScenarioError> {
        let line = self.place.line;
        match self.value {
            DeValue::Table(table) => Ok(Table { file, what, line, table, asked: Vec::new() }),
            other => Err(wrong(&self.place, &self.key, &other, "a table")),
        }
    }

    /// A string.
    pub(super) fn text(&self) -> Result<&str, ScenarioError> {
        match &self.value {
            DeValue::String(text) => Ok(text),
            _ => Err(self.wrong("a string")),
        }
    }

    /// A whole number of at most `max`.
    pub(super) fn number(&self, max: u64) -> Result<u64, ScenarioError> {
        let number = match &self.value {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        number.filter(|number| *number <= max).ok_or_else(|| self.wrong(&format!("a whole number from 0 to {max}")))
    }

    /// True or false.
    pub(super) fn flag(&self) -> Result<bool, ScenarioError> {
        match self.value {
            DeValue::Boolean(value) => Ok(value),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// The values of an array, or the one value that stands there instead.
    pub(super) fn list(self) -> Vec<Self> {
        let (place, key) = (self.place, self.key);
        let of = |value| Self { place: place.clone(), key: key.clone(), value };
        match self.value {
            DeValue::Array(items) => items.into_iter().map(|item| of(item.into_inner())).collect(),
            other => vec![of(other)],
        }
    }

    /// One of a closed set of names.
    pub(super) fn name<T>(
        &self,
        kind: &'static str,
        find: impl Fn(&str) -> Option<T>,
        known: impl Iterator<Item = &'static str>,
    ) -> Result<T, ScenarioError> {
        let name = self.text()?;
        find(name).ok_or_else(|| ScenarioError::UnknownName {
            place: self.place.clone(),
            kind,
            name: name.to_owned(),
            known: known.collect::<Vec<_>>().join(", "),
        })
    }
}
