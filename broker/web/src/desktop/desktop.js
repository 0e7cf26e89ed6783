import "./desktop.css";
