//! The cluster's key material: an authority, the API server's serving certificate, the
//! administrator's client certificate and the key that signs ServiceAccount tokens.
//!
//! All of it lives as long as one run directory and protects nothing but that bed.

use std::{fs, path::Path};

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// Names and addresses that clients inside and outside of the bed call the API server by. The last
/// is the first address of the Service range, which the `kubernetes` Service gets.
const SERVER_NAMES: [&str; 6] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "127.0.0.1",
    "10.0.0.1",
];

/// Administrators of other names, for programs that the audit log is to tell apart.
pub(crate) const DEPUTIES: [&str; 4] = ["deputy-0", "deputy-1", "deputy-2", "deputy-3"];

/// Writes `ca.crt`, `apiserver.{crt,key}`, `admin.{crt,key}` with those of each deputy, and
/// `sa.{key,pub}` into `dir`.
pub(crate) fn write(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "testbed");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(dir.join("ca.crt"), authority.pem())?;

    let mut server = CertificateParams::new(SERVER_NAMES.map(String::from))?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    issue(dir, "apiserver", server, ExtendedKeyUsagePurpose::ServerAuth, &authority)?;

    for name in ["admin"].into_iter().chain(DEPUTIES) {
        let mut admin = CertificateParams::default();
        admin.distinguished_name.push(DnType::CommonName, name);
        // Members of this group are bound to cluster-admin by Kubernetes itself.
        admin.distinguished_name.push(DnType::OrganizationName, "system:masters");
        issue(dir, name, admin, ExtendedKeyUsagePurpose::ClientAuth, &authority)?;
    }

    let accounts = KeyPair::generate()?;
    fs::write(dir.join("sa.key"), accounts.serialize_pem())?;
    fs::write(dir.join("sa.pub"), accounts.public_key_pem())?;
    Ok(())
}

fn issue(
    dir: &Path,
    name: &str,
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
    authority: &CertifiedIssuer<'_, KeyPair>,
) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate()?;
    fs::write(dir.join(format!("{name}.crt")), params.signed_by(&key, authority)?.pem())?;
    fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}
