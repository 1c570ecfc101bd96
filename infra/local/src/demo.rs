//! The demo: a token, an application, an endpoint that points at a receiver, and a `curl` line to
//! try it. The receiver uses plain http, so there is none with `AllowHttpEndpoints=false`.

use std::{fmt::Write as _, fs, io, os::unix::fs::OpenOptionsExt, path::Path};

use posthorn_local::{Stack, StartError, receiver};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Error;

/// What `cargo run` sets up.
pub(crate) struct Demo {
    token: String,
    receiver: Option<Receiver>,
}

/// Where the demo's messages go, and the secret that signs them.
struct Receiver {
    listener: TcpListener,
    secret: String,
}

impl Demo {
    pub(crate) async fn prepare(
        stack: &Stack,
        data: Option<&Path>,
        port: u16,
    ) -> Result<Self, Error> {
        let token = mint(stack, data).await?;
        let api = Api {
            // A proxy from the environment must not be used for loopback.
            client: reqwest::Client::builder().no_proxy().build()?,
            base: stack.api_url().to_owned(),
            token: token.clone(),
        };
        api.call(
            "POST",
            "/api/v1/app?get_if_exists=true",
            Some(json!({ "name": "Demo", "uid": "demo" })),
        )
        .await?;
        let allows_http = stack.environment(Some("ApiFunction"))["ALLOW_HTTP_ENDPOINTS"] == "true";
        let receiver = match allows_http {
            true => Some(Receiver::register(&api, port).await?),
            false => None,
        };
        Ok(Self { token, receiver })
    }

    /// Writes the functions' environment and the API's address to a file. It includes a token, so
    /// only its owner may read it.
    pub(crate) fn write_environment(&self, stack: &Stack, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        let mut environment = stack.environment(None);
        // The administrator, because cargo lambda may run any of the functions.
        let administrator = stack.aws().roles().access_key(None).to_owned();
        environment.insert("AWS_ACCESS_KEY_ID".to_owned(), administrator);
        for (name, value) in environment {
            // `cargo lambda watch` sets these itself.
            if !name.starts_with("AWS_LAMBDA_") {
                let _ = writeln!(text, "{name}={value}");
            }
        }
        let _ = writeln!(
            text,
            "POSTHORN_URL={}\nPOSTHORN_TOKEN={}",
            stack.api_url(),
            self.token
        );
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())
    }

    pub(crate) fn print(&self, stack: &Stack, env_file: &Path) {
        let (url, token) = (stack.api_url(), &self.token);
        println!("Posthorn is ready.\n");
        println!("  API          {url}");
        println!("  Token        {token}");
        println!("  Environment  {}\n", env_file.display());
        println!(
            "{}\n",
            match self.receiver {
                Some(_) => "Send a message; the demo receiver below verifies and prints it:",
                None =>
                    "Send a message; with AllowHttpEndpoints=false there is no demo receiver, because it uses http:",
            }
        );
        println!(
            "  curl -s {url}/api/v1/app/demo/msg -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' \
             -d '{{\"eventType\":\"invoice.paid\",\"payload\":{{\"id\":\"in_1\",\"amount\":4200}}}}'\n"
        );
    }

    pub(crate) async fn receive(self) -> Result<(), Error> {
        match self.receiver {
            Some(Receiver { listener, secret }) => receiver::serve(listener, &secret).await,
            None => std::future::pending().await,
        }
    }
}

impl Receiver {
    /// Opens a listener and creates the endpoint that points at it.
    async fn register(api: &Api, port: u16) -> Result<Self, Error> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => StartError::PortTaken(port),
            _ => error.into(),
        })?;
        let url = format!("http://{}/", listener.local_addr()?);
        let path = "/api/v1/app/demo/endpoint/receiver";
        let endpoint = json!({ "url": url, "uid": "receiver" });
        api.call("PUT", path, Some(endpoint)).await?;
        let secret = api.call("GET", &format!("{path}/secret"), None).await?;
        let secret = secret["key"].as_str().ok_or("the endpoint has no secret")?;
        Ok(Self {
            listener,
            secret: secret.to_owned(),
        })
    }
}

/// Creates a token, for the same organization at each start.
async fn mint(stack: &Stack, data: Option<&Path>) -> Result<String, Error> {
    let kept = data.map(|folder| folder.join("organization"));
    let organization = kept.as_ref().and_then(|path| fs::read_to_string(path).ok());
    let request = organization.map_or_else(
        || json!({}),
        |organization| json!({ "organization": organization.trim() }),
    );
    let minted = stack
        .invoke("ApiFunction", &json!({ "mint": request }))
        .await?;
    if let (Some(path), Some(organization)) = (kept, minted["organization"].as_str()) {
        fs::write(path, organization)?;
    }
    Ok(minted["token"]
        .as_str()
        .ok_or("no token was created")?
        .to_owned())
}

struct Api {
    client: reqwest::Client,
    base: String,
    token: String,
}

impl Api {
    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let url = format!("{}{path}", self.base);
        let mut request = self
            .client
            .request(method.parse()?, &url)
            .bearer_auth(&self.token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            return Err(format!("{method} {path}: {status} {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    }
}
