//! The registry: schemas by their ids.

use std::collections::HashSet;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_subjects, get_referenced_schema, get_schema_by_guid, get_schema_by_id,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RegisteredReference, RegisteredSchema as Found,
};

use crate::decode::schema::apicurio::Apicurio;
use crate::decode::schema::http;
use crate::decode::{RegisteredSchema, SchemaId};
use crate::settings::{self, IdKind};

/// How long one question may take.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// Where schemas come from; each question is one attempt.
pub trait Schemas: Send + Sync {
    /// Returns a schema with those it refers to; `None` when there is none of that id.
    fn schema(
        &self,
        id: SchemaId,
    ) -> BoxFuture<'_, Result<Option<RegisteredSchema>, RegistryError>>;
}

/// A schema registry; a handle, cheap to clone. It remembers nothing: the decoder does.
#[derive(Clone, Debug)]
pub struct Registry {
    settings: Arc<settings::Registry>,
    /// The clients, unless their token is renewed: questions are rare, and each then takes the token
    /// as it is.
    clients: Option<Arc<Clients>>,
}

/// A client of each API, with the same credentials.
#[derive(Debug)]
struct Clients {
    url: String,
    confluent: SrSettings,
    apicurio: Apicurio,
    use_id: Option<IdKind>,
}

/// The registry does not answer, or refuses to.
#[derive(Debug, thiserror::Error)]
#[error("schema registry \"{url}\": {what}")]
pub struct RegistryError {
    url: String,
    what: String,
    is_passing: bool,
}

impl RegistryError {
    /// Returns whether the same question may be answered later, with nothing changed by hand: not
    /// where credentials, rights or certificates are wrong.
    pub fn is_passing(&self) -> bool {
        self.is_passing
    }
}

impl Registry {
    /// Makes the clients; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// The settings make none.
    pub fn new(settings: &settings::Registry) -> Result<Self, RegistryError> {
        let clients = Clients::new(settings)?;
        let is_renewed = matches!(settings.token, Some(settings::BearerToken::File(_)));
        let clients = (!is_renewed).then(|| Arc::new(clients));
        Ok(Self { settings: Arc::new(settings.clone()), clients })
    }

    /// Asks whether the registry answers and lets us in.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn check(&self) -> Result<(), RegistryError> {
        let clients = self.clients()?;
        match get_all_subjects(&clients.confluent).await {
            Ok(_) => Ok(()),
            // A registry may serve schemas without listing subjects.
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(clients.error_of(&error)),
        }
    }

    /// Returns a schema with those it refers to; `None` when the registry says that there is none
    /// of that id.
    ///
    /// # Errors
    ///
    /// The registry does not answer, or refuses to: a later try may succeed.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<RegisteredSchema>, RegistryError> {
        self.clients()?.schema(id).await
    }

    fn clients(&self) -> Result<Arc<Clients>, RegistryError> {
        match &self.clients {
            Some(clients) => Ok(Arc::clone(clients)),
            None => Clients::new(&self.settings).map(Arc::new),
        }
    }
}

impl Clients {
    fn new(settings: &settings::Registry) -> Result<Self, RegistryError> {
        let url = settings.url.clone();
        let unfit = |what| RegistryError { url: url.clone(), what, is_passing: false };
        let client = || http::client(settings).map_err(unfit);
        let mut confluent = SrSettings::new_builder(url.clone());
        confluent.set_timeout(ASK_WAIT);
        let confluent = confluent.build_with(client()?);
        let confluent = confluent.map_err(|error| unfit(http::chain(&error)))?;
        let apicurio = client()?.timeout(ASK_WAIT).build();
        let apicurio = apicurio.map_err(|error| unfit(http::chain(&error)))?;
        let apicurio = Apicurio::new(&url, apicurio);
        Ok(Self { url, confluent, apicurio, use_id: settings.use_id })
    }

    async fn schema(&self, id: SchemaId) -> Result<Option<RegisteredSchema>, RegistryError> {
        let found = match (id, self.use_id) {
            (SchemaId::Plain(id), Some(kind)) => return self.of_apicurio(kind, id.into()).await,
            (SchemaId::Wide(id), Some(kind)) => return self.of_apicurio(kind, id).await,
            (SchemaId::Plain(id), None) => get_schema_by_id(id, &self.confluent).await,
            (SchemaId::Guid(id), _) => get_schema_by_guid(&id.to_string(), &self.confluent).await,
            (SchemaId::Global(id), _) => return self.of_apicurio(IdKind::Global, id).await,
            (SchemaId::Content(id), _) => return self.of_apicurio(IdKind::Content, id).await,
            (SchemaId::Wide(id), None) => return self.of_either(id).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(self.error_of(&error)),
        };
        let references = self.references(&found).await?;
        Ok(Some(RegisteredSchema { text: found.schema, references }))
    }

    async fn of_apicurio(
        &self,
        kind: IdKind,
        id: i64,
    ) -> Result<Option<RegisteredSchema>, RegistryError> {
        let schema = self.apicurio.schema(kind, id).await;
        schema.map_err(|error| {
            let is_denied = error.status().is_some_and(http::is_denial) || http::is_tls(&error);
            RegistryError {
                url: self.url.clone(),
                what: http::chain(&error),
                is_passing: !is_denied,
            }
        })
    }

    /// Fetches the schema of an id that does not say of which kind it is: only where that makes no
    /// difference it is known.
    async fn of_either(&self, id: i64) -> Result<Option<RegisteredSchema>, RegistryError> {
        let global = self.of_apicurio(IdKind::Global, id).await?;
        let content = self.of_apicurio(IdKind::Content, id).await?;
        match (global, content) {
            (Some(global), Some(content)) if global != content => {
                let what = format!(
                    "{id} of eight bytes names one schema as a globalId and another as a \
                     contentId: say by --schema-registry-use-id which of them the converter writes"
                );
                Err(RegistryError { url: self.url.clone(), what, is_passing: false })
            }
            (global, content) => Ok(global.or(content)),
        }
    }

    /// Fetches what a schema refers to, however deep; what is referred to comes first.
    async fn references(&self, schema: &Found) -> Result<Vec<String>, RegistryError> {
        let name = |reference: &RegisteredReference| (reference.subject.clone(), reference.version);
        let mut seen = HashSet::new();
        let mut open = schema.references.clone();
        let mut texts = Vec::new();
        while let Some(reference) = open.pop() {
            if !seen.insert(name(&reference)) {
                continue;
            }
            let found = get_referenced_schema(&self.confluent, &reference).await;
            let found = found.map_err(|error| self.error_of(&error))?;
            open.extend(found.references);
            texts.push(found.schema);
        }
        Ok(texts)
    }

    fn error_of(&self, error: &SRCError) -> RegistryError {
        let is_denied = ["status 401", "status 403"].iter().any(|it| error.error.contains(it));
        let what = match error.source() {
            _ if is_denied => format!("{}: credentials are missing or wrong", error.error),
            Some(cause) => format!("{}: {}", error.error, http::chain(cause)),
            None => error.error.clone(),
        };
        let is_passing = !is_denied && !http::is_tls(error);
        RegistryError { url: self.url.clone(), what, is_passing }
    }
}

impl Schemas for Registry {
    fn schema(
        &self,
        id: SchemaId,
    ) -> BoxFuture<'_, Result<Option<RegisteredSchema>, RegistryError>> {
        Box::pin(self.schema(id))
    }
}

/// The library tells an HTTP status only in its text.
fn is_missing(error: &SRCError) -> bool {
    error.error.contains("status 404")
}
