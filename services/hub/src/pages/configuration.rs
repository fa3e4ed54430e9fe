//! `/configuration`: the settings in force.

use agent::http::html::escape;

use super::{Page, Pages};

impl Pages {
    pub(super) async fn configuration(&self) -> Page {
        let report = self.api.report().await;
        let report = match &report {
            Ok(report) => format!(
                "<p>What is in force, as a configuration file would say it and <code>--check</code> prints it; secrets \
                 are left out. <a href=\"/api/v1/configuration?format=csv\">CSV</a> \
                 <a href=\"/api/v1/configuration\">JSON</a></p>\n\
                 <pre tabindex=\"0\" role=\"region\" aria-label=\"Settings in force\" data-live=\"report\">{}</pre>\n",
                escape(report)
            ),
            Err(why) => format!("<p class=\"notice bad\">{}</p>\n", escape(why)),
        };
        let main = format!("<h1>Configuration</h1>\n{report}");
        Page { title: "Configuration".to_owned(), here: "/configuration", main, charts: false }
    }
}
