//! The configuration for people: what `--check` prints. Secrets show as `***`.

mod changes;
mod limits;
mod relay;
mod table;

pub use self::changes::Changes;
use self::{
    limits::limits_table,
    relay::{input_table, output_table, relay_table},
    table::{Table, list},
};
use super::{Config, LogFormat};

impl Config {
    /// Every resolved value, one per line under the table that it belongs to, in the file's order.
    pub fn describe(&self) -> String {
        let tables = self.tables();
        let lines = |table: &Table| {
            let facts = table.facts.iter().map(|fact| format!("  {} = {}\n", fact.key, fact.shown));
            let part = table.name.part.as_ref().map_or_else(String::new, |part| format!(", {part}"));
            format!("{}{part}\n{}", table.name.whole, facts.collect::<String>())
        };
        tables.iter().map(lines).collect::<Vec<_>>().join("\n")
    }

    fn tables(&self) -> Vec<Table> {
        let mut log = Table::new("log");
        log.fact("level", &self.log.level);
        log.fact(
            "format",
            match self.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
        );
        let mut tables = vec![log];
        if let Some(admin) = &self.admin {
            let mut table = Table::new("admin");
            table.fact("listen", admin.listen);
            table.secret("token", admin.token.as_ref());
            table.fact("hosts", list(&admin.hosts));
            tables.push(table);
        }
        if let Some(ingest) = &self.ingest {
            let mut table = Table::new("ingest");
            table.fact("listen", ingest.listen);
            let tls = ingest.tls.as_ref();
            table.fact("tls_listen", tls.map_or_else(|| "none".to_owned(), |tls| tls.listen.to_string()));
            table.file("tls_cert", tls.map(|tls| &tls.cert));
            table.file("tls_key", tls.map(|tls| &tls.key));
            tables.push(table);
        }
        let mut table = Table::new("network");
        table.fact("allow", list(&self.network.allow));
        let folder = self.network.vod_dir.as_ref().map(|folder| folder.display().to_string());
        table.fact("vod_dir", folder.unwrap_or_else(|| "none".to_owned()));
        tables.push(table);
        tables.push(limits_table(&self.limits));
        for relay in &self.relays {
            tables.push(relay_table(relay));
            tables.extend(relay.inputs.iter().map(|input| input_table(&relay.name, input)));
            tables.extend(relay.outputs.iter().map(|output| output_table(&relay.name, output)));
        }
        tables
    }
}
